"""Each perturbation against a closed form, and the strength that changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmreg_lightning.data import perturbations as change
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume

AFFINE = np.array([[2.0, 0, 0, -30], [0, 3.0, 0, 5], [0, 0, 4.0, 7], [0, 0, 0, 1]])


@pytest.fixture
def image():
    torch.manual_seed(1)
    return Volume(100 * torch.rand(1, 20, 22, 24), Grid((20, 22, 24), AFFINE))


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("name", ["shifted", "rotated", "with_contrast", "with_bias", "with_noise"])
def test_strength_zero_changes_nothing(image, name):
    same = getattr(change, name)(image, 0.0, rng())
    assert torch.allclose(same.data, image.data, atol=1e-4)
    assert np.allclose(same.grid.affine, image.grid.affine)


def test_nothing_thinner_cropped_or_missing_changes_nothing(image):
    labels = Volume(torch.zeros_like(image.data).long(), image.grid)
    assert change.with_thick_slices(image, 4.0) is image
    assert torch.equal(change.cropped(image, 0, 0).data, image.data)
    assert change.without_organs(image, labels, [3])[0] is image


def test_a_shift_has_its_length_and_leaves_the_voxels(image):
    moved = change.shifted(image, 25.0, rng())
    assert torch.equal(moved.data, image.data)
    offset = moved.grid.affine[:3, 3] - image.grid.affine[:3, 3]
    assert np.linalg.norm(offset) == pytest.approx(25.0)
    assert np.allclose(moved.grid.affine[:3, :3], image.grid.affine[:3, :3])


def test_a_rotation_keeps_the_centre_and_turns_by_its_angle(image):
    moved = change.rotated(image, 30.0, rng())
    assert np.allclose(moved.grid.center, image.grid.center)
    turn = moved.grid.affine[:3, :3] @ np.linalg.inv(image.grid.affine[:3, :3])
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert math.degrees(math.acos((np.trace(turn) - 1) / 2)) == pytest.approx(30.0)


def test_gamma_is_a_power_of_the_share(image):
    low, high = change.intensity_range(image.data)
    share = ((image.data - low) / (high - low)).clamp(min=0)
    powers = [low + (high - low) * share ** math.exp(sign * 0.5) for sign in (-1, 1)]
    assert torch.allclose(change.with_gamma(image, 0.0, rng()).data, image.data.clamp(min=low), atol=1e-4)
    found = change.with_gamma(image, 0.5, rng()).data
    assert any(torch.allclose(found, power, atol=1e-3) for power in powers)


def test_contrast_keeps_air_and_is_a_function_of_intensity():
    ramp = torch.linspace(0, 1, 1001).repeat(2, 2, 1)[None]
    image = Volume(ramp, Grid((2, 2, 1001), np.eye(4)))
    found = change.with_contrast(image, 1.0, rng()).data
    low, high = change.intensity_range(ramp)
    assert found[0, 0, 0, 0] == pytest.approx(low, abs=1e-6)
    assert torch.equal(found[0, 0, 0], found[0, 1, 1])
    assert float(found.min()) >= low - 1e-6 and float(found.max()) <= high + 1e-6
    assert not torch.allclose(found, ramp, atol=0.05)


def test_bias_has_its_deviation_and_no_mean(image):
    ratio = (change.with_bias(image, 0.4, rng()).data / image.data).log()
    assert float(ratio.std()) == pytest.approx(0.4, rel=1e-3)
    assert float(ratio.mean()) == pytest.approx(0, abs=1e-4)


def test_noise_has_its_deviation(image):
    low, high = change.intensity_range(image.data)
    noise = change.with_noise(image, 0.1, rng()).data - image.data
    assert float(noise.std()) == pytest.approx(0.1 * (high - low), rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01 * (high - low))


def test_thick_slices_keep_what_is_constant_along_them_and_blur_the_rest(image):
    flat = Volume(image.data[..., :1].expand_as(image.data).contiguous(), image.grid)
    assert torch.allclose(change.with_thick_slices(flat, 16.0).data, flat.data, atol=1e-3)
    thick = change.with_thick_slices(image, 16.0).data
    assert thick.shape == image.data.shape
    assert float(thick.diff(dim=-1).abs().mean()) < 0.4 * float(image.data.diff(dim=-1).abs().mean())


def test_a_crop_leaves_every_voxel_in_its_place(image):
    small = change.cropped(image, 3, 5)
    assert torch.equal(small.data, image.data[..., 3:19])
    first = transform_points(small.grid.affine, np.zeros((1, 3)))
    assert np.allclose(first, transform_points(image.grid.affine, [[0, 0, 3]]))
    with pytest.raises(UserError, match="of 24 slices only 4 would be left"):
        change.cropped(image, 10, 10)


def test_an_organ_is_filled_from_around_it_and_its_label_is_gone():
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.int64)
    labels[0, 4:9, 4:9, 4:9], labels[0, 12:14, 3:6, 3:6] = 5, 2
    data = 10.0 + 90.0 * (labels == 5) + 50.0 * (labels == 2)
    grid = Grid((16, 16, 16), np.eye(4))
    image, left = change.without_organs(Volume(data, grid), Volume(labels, grid), [5])
    assert set(left.data.unique().tolist()) == {0, 2}
    assert torch.equal(image.data, 10.0 + 50.0 * (labels == 2))


def test_the_same_seed_gives_the_same_image(image):
    assert torch.equal(change.with_bias(image, 0.3, rng()).data, change.with_bias(image, 0.3, rng()).data)
