"""The body in a CT on a table, and padding: what lies where is known by construction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.geometry.body import body_mask, is_hounsfield
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume

SPACING = np.array([2.0, 2.0, 4.0])
SHAPE = (96, 80, 30)


def millimetres() -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij"), -1)


def volume_of(array: NDArray) -> Volume:
    return Volume(torch.from_numpy(array.astype(np.float32))[None], Grid(SHAPE, np.diag([*SPACING, 1.0])))


def scan() -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """A trunk with lungs on a table with two shells of 2 mm, an arm's length of air around it."""
    x, y, _ = np.moveaxis(millimetres(), -1, 0)
    trunk = ((x - 96) / 60) ** 2 + ((y - 90) / 40) ** 2 < 1
    lungs = ((np.abs(x - 96) - 28) / 16) ** 2 + ((y - 90) / 24) ** 2 < 1
    table = (np.abs(y - 36) < 1.1) | (np.abs(y - 20) < 1.1)
    hu = np.random.default_rng(0).normal(-1000, 15, SHAPE)
    hu[table] = 200
    hu[trunk] = 40
    hu[lungs] = -850
    return hu, {"trunk": trunk, "lungs": lungs, "table": table}


def test_the_body_of_a_ct_has_its_lungs_and_no_table() -> None:
    hu, parts = scan()
    mask = body_mask(volume_of(hu), hounsfield=True)
    assert mask is not None
    inside = mask.data[0].numpy() > 0
    assert inside[parts["trunk"]].all() and inside[parts["lungs"]].all(), "cut open at both ends"
    assert not inside[parts["table"]].any()
    y = millimetres()[..., 1]
    assert not inside[y < 36].any() and inside.mean() < 1.35 * parts["trunk"].mean(), "a margin of some millimetres"


def test_both_legs_are_the_body() -> None:
    x, y, _ = np.moveaxis(millimetres(), -1, 0)
    legs = [(x - c) ** 2 + (y - 80) ** 2 < r**2 for c, r in ((50, 35), (140, 28))]
    hu = np.where(legs[0] | legs[1], 30.0, -1000.0) + np.random.default_rng(0).normal(0, 5, SHAPE)
    mask = body_mask(volume_of(hu), hounsfield=True)
    assert mask is not None and all(bool(mask.data[0].numpy()[leg].all()) for leg in legs)


def test_an_image_full_of_tissue_needs_no_mask() -> None:
    tissue = np.random.default_rng(0).normal(40, 20, SHAPE)
    assert body_mask(volume_of(tissue), hounsfield=True) is None
    assert body_mask(volume_of(tissue), hounsfield=False) is None
    assert body_mask(volume_of(tissue - 2000), hounsfield=True) is None, "nothing dense"


def test_padding_of_an_mr_is_left_out_and_a_hole_in_the_body_is_not_cut_further() -> None:
    x, y, _ = np.moveaxis(millimetres(), -1, 0)
    seen = ((x - 96) / 60) ** 2 + ((y - 80) / 50) ** 2 < 1
    mr = np.where(seen, np.random.default_rng(0).uniform(50, 900, SHAPE), 0.0)
    mask = body_mask(volume_of(mr), hounsfield=False)
    assert mask is not None and np.array_equal(mask.data[0].numpy() > 0, seen)
    noisy = np.where(seen, mr, np.random.default_rng(1).rayleigh(5, SHAPE))
    assert body_mask(volume_of(noisy), hounsfield=False) is None, "air with noise is no padding"


def test_only_hounsfield_units_go_far_below_zero() -> None:
    hu, _ = scan()
    assert is_hounsfield(volume_of(hu)) and not is_hounsfield(volume_of(hu + 1100))
