"""Intensity recipes against literals."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import normalise_intensity


def test_window():
    image = torch.tensor([-1000.0, -100.0, 0.0, 100.0, 3000.0])
    out = normalise_intensity(image, {"kind": "window", "low": -100, "high": 100})
    assert out.tolist() == [0, 0, 0.5, 1, 1]
    out = normalise_intensity(image, {"kind": "window", "low": -100, "high": 100, "clip": False})
    assert out.tolist() == [-4.5, 0, 0.5, 1, 15.5]


def test_percentiles_are_those_of_the_sorted_values():
    image = torch.randperm(101).float()
    out = normalise_intensity(image, {"kind": "percentile", "low": 10, "high": 90})
    torch.testing.assert_close(out, ((image - 10) / 80).clamp(0, 1))


def test_percentiles_ignore_scale_and_offset():
    image = torch.rand(4, 5, 6)
    recipe = {"kind": "percentile", "low": 1, "high": 99}
    torch.testing.assert_close(normalise_intensity(700 * image - 30, recipe), normalise_intensity(image, recipe))


def test_no_contrast_between_the_percentiles_stays_finite():
    image = torch.zeros(100)
    image[0] = 1
    out = normalise_intensity(image, {"kind": "percentile", "low": 1, "high": 50})
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize(
    "recipe",
    [
        {"kind": "zscore", "low": 0, "high": 1},
        {"kind": "window", "low": 1, "high": 1},
        {"kind": "percentile", "low": 99, "high": 1},
    ],
)
def test_unusable_recipe(recipe):
    with pytest.raises(UserError, match="intensity recipe"):
        normalise_intensity(torch.rand(5), recipe)
