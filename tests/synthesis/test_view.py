"""Rendered views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.shape_maps import random_shapes
from mmreg_lightning.synthesis.view import Views

PLAIN = dict.fromkeys(
    ["merge", "texture", "bias", "thick", "noise", "gamma", "invert", "streaks", "table", "gas", "metal", "cut"], 0.0
)


@pytest.fixture(scope="module")
def regions():
    return random_shapes(np.random.default_rng(2), 32).astype(np.int16)


def render(views, regions, seed, tissue="any"):
    tissues = [tissue] * (int(regions.max()) + 1)
    return views.render(np.random.default_rng(seed), regions, tissues)


def test_a_view_is_finite_network_input_and_its_own(regions):
    views = Views()
    shown = torch.cat([render(views, regions, seed) for seed in range(24)])
    assert shown.dtype == torch.float32 and shown.shape == (24, 32, 32, 32) and torch.isfinite(shown).all()
    assert shown.min() >= -10 and shown.max() <= 11
    assert float(((shown > -0.5) & (shown < 1.5)).float().mean()) > 0.9
    torch.testing.assert_close(render(views, regions, 5)[0], shown[5])
    apart = torch.corrcoef(shown.flatten(1))
    assert float(apart.fill_diagonal_(0).abs().mean()) < 0.5


def test_without_faults_a_region_has_one_value(regions):
    views = Views({"random": 1.0}, blur=(0.0, 0.0), **PLAIN)
    image = render(views, regions, 1)[0]
    for region in np.unique(regions):
        values = image[torch.from_numpy(regions == region)]
        assert float(values.max() - values.min()) < 1e-5
    assert len(image.unique()) > 3


@pytest.mark.parametrize("name", ["texture", "bias", "noise"])
def test_each_amount_changes_what_it_says(regions, name):
    changed = Views({"random": 1.0}, blur=(0.0, 0.0), **{**PLAIN, name: 0.5})
    largest = torch.from_numpy(regions == np.bincount(regions.ravel()).argmax())
    spread = [float(render(changed, regions, seed)[0][largest].std()) for seed in range(5)]
    assert max(spread) > 0.02 and len(set(spread)) == 5


def test_styles_are_drawn_by_their_shares(regions):
    """Water and air have fixed Hounsfield units, so that one window shows them alike; MR does not."""
    halves = np.zeros((16, 16, 16), np.int16)
    halves[8:] = 1

    def fluids(styles):
        views = Views(styles, blur=(0.0, 0.0), **PLAIN)
        shown = [views.render(np.random.default_rng(s), halves, ["fat", "fluid"]) for s in range(40)]
        return np.array([float(image[0, 8:].mean() - image[0, :8].mean()) for image in shown])

    assert (fluids({"ct": 1.0, "mr": 0.0}) > 0).all()
    assert 0.1 < (fluids({"mr": 1.0}) > 0).mean() < 0.9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"styles": {"us": 1.0}}, "data.views.styles="),
        ({"styles": {"ct": 0.0}}, "data.views.styles="),
        ({"noise": -0.1}, "data.views.noise=-0.1"),
        ({"blur": [1.0]}, "data.views.blur="),
        ({"thickness": [3.0, 2.0]}, "data.views.thickness="),
    ],
)
def test_arguments_out_of_range(arguments, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        Views(**arguments)
