"""``--affine auto``: headers that are right are kept, by whatever features; others are replaced, and it is said."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import CENTER, body, errors_mm, translation
from scipy.spatial.transform import Rotation

from mmreg_lightning.data.pair import Pair
from mmreg_lightning.registration.initial_affine import initial_affine
from mmreg_lightning.registration.settings import Options, Settings, resolve


def auto(affine: str = "auto") -> Settings:
    return resolve(Options(features="intensity", spacing=3.0, affine=affine))


def test_auto_keeps_headers_that_are_about_right_and_says_nothing() -> None:
    pair = Pair(body(np.eye(4)), body(translation(6, -5, 4)))
    found, said = initial_affine(pair, auto(), 3.0)
    assert np.array_equal(found, np.eye(4)) and said == []


@pytest.mark.parametrize(("shift", "why"), [((300, 200, -400), "the images hardly overlap"), ((45, 0, 0), "elsewhere")])
def test_auto_searches_where_the_headers_are_wrong_and_says_so(shift: tuple[int, int, int], why: str) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    truth = translation(*(CENTER + shift)) @ turn @ translation(*-CENTER)
    found, said = initial_affine(Pair(body(np.eye(4)), body(truth)), auto(), 3.0)
    assert errors_mm(found, truth).max() < 2.5
    assert len(said) == 1 and said[0].startswith("The headers are not trusted") and why in said[0]
    assert "turned it by 20 degrees" in said[0]


def test_features_that_see_no_likeness_do_not_count() -> None:
    """Of opposite contrasts, intensities agree best where the bodies do not meet."""
    pair = Pair(body(np.eye(4)), body(translation(6, -5, 4), contrast=-1.0))
    assert errors_mm(initial_affine(pair, auto("rigid"), 3.0)[0], translation(6, -5, 4)).max() > 25
    found, said = initial_affine(pair, auto(), 3.0)
    assert np.array_equal(found, np.eye(4)) and said == []
