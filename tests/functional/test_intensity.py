"""Intensity recipes against literals."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import normalise_intensity, padding
from mmreg_lightning.functional.mind import mind_ssc


def test_window():
    image = torch.tensor([-1000.0, -100.0, 0.0, 100.0, 3000.0])
    out = normalise_intensity(image, {"kind": "window", "low": -100, "high": 100})
    assert out.tolist() == [0, 0, 0.5, 1, 1]
    out = normalise_intensity(image, {"kind": "window", "low": -100, "high": 100, "clip": False})
    assert out.tolist() == [-4.5, 0, 0.5, 1, 11], "3000 is an outlier: ten windows away"


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


def test_percentiles_are_those_of_what_is_not_padding():
    image = torch.zeros(1, 40, 40, 40)
    image[0, 10:18, 10:18, 10:18] = torch.linspace(100, 1100, 512).view(8, 8, 8)
    assert float((image == 0).float().mean()) > 0.99
    out = normalise_intensity(image, {"kind": "percentile", "low": 1, "high": 99, "clip": False})
    assert out.max() == pytest.approx(1.0, abs=0.02) and out.min() == 0


def test_padding_far_from_the_tissue_sets_no_scale():
    image = torch.randn(1, 30, 30, 30).mul(50).add(40)
    image[:, :, :10] = -3024
    out = normalise_intensity(image, {"kind": "percentile", "low": 1, "high": 99, "clip": False})
    tissue = out[:, :, 10:]
    assert tissue.quantile(0.01) == pytest.approx(0, abs=0.02) and tissue.quantile(0.99) == pytest.approx(1, abs=0.02)
    assert out.min() == -10, "what lies far outside ends at ten windows"


def test_one_voxel_does_not_matter():
    image = torch.rand(1, 24, 24, 24)
    spoilt = image.clone()
    spoilt[0, 12, 12, 12] = 1e7
    recipe = {"kind": "percentile", "low": 1.0, "high": 99.0, "clip": False}
    clean, other = (mind_ssc(normalise_intensity(x, recipe)[None], 1, 2) for x in (image, spoilt))
    far = torch.ones(24, 24, 24, dtype=torch.bool)
    far[8:17, 8:17, 8:17] = False
    assert float((clean - other).abs()[0][:, far].max()) < 0.02


def test_padding_is_solid_and_at_the_border():
    image = torch.rand(1, 20, 20, 20) + 0.1
    assert padding(image) is None
    image[:, :6] = 0
    found = padding(image)
    assert found is not None and torch.equal(found, image == 0)
    speckle = torch.rand(1, 20, 20, 20)
    speckle[torch.rand(1, 20, 20, 20) < 0.5] = 0
    assert padding(speckle) is None, "air that is 0 in every other voxel has noise"
    assert padding(torch.zeros(1, 20, 20, 20)) is None and padding(torch.zeros(2)) is None
