"""Warping: identity, whole and partial voxels, borders, label maps, and the conversion to PyTorch's grid."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import map_coordinates

from mmreg_lightning.functional.warp import identity_grid, to_torch_grid, warp


def constant(values, shape, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


def test_identity_grid_holds_voxel_indices():
    grid = identity_grid((2, 3, 4))
    assert grid.shape == (1, 3, 2, 3, 4)
    assert grid[0, :, 1, 2, 3].tolist() == [1, 2, 3]


def test_torch_grid_of_identity_is_reversed_and_has_voxel_centres():
    grid = to_torch_grid(torch.zeros(1, 3, 2, 4, 5, dtype=torch.float64))
    assert grid[0, 0, :, 0, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert grid[0, 1, 3, 4].tolist() == pytest.approx([0.8, 0.75, 0.5])


def test_torch_grid_of_one_voxel():
    grid = to_torch_grid(constant([1, 0, 0], (2, 4, 5)))
    assert grid[0, 0, 0, 0].tolist() == pytest.approx([-0.8, -0.75, 0.5])


def test_zero_displacement_is_identity(dtype, assert_close):
    image = torch.rand(2, 3, 5, 6, 7, dtype=dtype)
    assert_close(warp(image, torch.zeros(2, 3, 5, 6, 7, dtype=dtype)), image)


def test_whole_voxel_translation(dtype, assert_close):
    image = torch.rand(1, 2, 8, 9, 10, dtype=dtype)
    warped = warp(image, constant([2, -1, 3], (8, 9, 10), dtype))
    assert_close(warped[:, :, :6, 1:, :7], image[:, :, 2:, :8, 3:])


def test_partial_voxel_translation_of_a_ramp(dtype, assert_close):
    grid = identity_grid((8, 8, 8), dtype=dtype)
    ramp = grid[:, :1] + 2 * grid[:, 1:2] - 3 * grid[:, 2:]
    warped = warp(ramp, constant([0.25, -0.5, 0.125], (8, 8, 8), dtype))
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert_close(warped[inside], (ramp + 0.25 - 1 - 0.375)[inside])


def test_agrees_with_scipy(smooth_field, assert_close):
    image = torch.rand(1, 1, 12, 12, 12, dtype=torch.float64)
    field = smooth_field(12, peak=3)
    points = (identity_grid((12, 12, 12), dtype=torch.float64) + field)[0].numpy()
    expected = map_coordinates(image[0, 0].numpy(), points, order=1, mode="nearest")
    assert_close(warp(image, field)[0, 0], torch.from_numpy(expected))


@pytest.mark.parametrize(("padding", "outside"), [("border", 1.0), ("zeros", 0.0)])
def test_padding(padding, outside):
    warped = warp(torch.ones(1, 1, 4, 4, 4), constant([9, 0, 0], (4, 4, 4), torch.float32), padding=padding)
    assert warped.unique().tolist() == [outside]


def test_nearest_keeps_labels_whole():
    labels = torch.randint(0, 9, (1, 1, 6, 6, 6)).float()
    near = warp(labels, constant([0.4, 0, 0], (6, 6, 6), torch.float32), mode="nearest")
    far = warp(labels, constant([0.6, 0, 0], (6, 6, 6), torch.float32), mode="nearest")
    assert torch.equal(near, labels)
    assert torch.equal(far[:, :, :5], labels[:, :, 1:])


def test_gradient_in_image_and_displacement():
    image = torch.rand(1, 2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    # Between 0.2 and 0.4 voxels: away from the kinks of trilinear interpolation at voxel centres.
    field = (0.2 + 0.2 * torch.rand(1, 3, 4, 4, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, field))
