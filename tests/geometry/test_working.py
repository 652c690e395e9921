"""The working grid covers the image, and images on it are network input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import translation

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import (
    default_spacing,
    field_of_view,
    prepare_image,
    thin_axes,
    working_grid,
)

WINDOW = {"kind": "window", "low": 0.0, "high": 100.0}


@pytest.mark.parametrize("spacing", [2.0, 3.7, (2.0, 4.0, 1.0), [2.0, 4.0, 1.0]], ids=str)
def test_sides_are_multiples_about_the_same_centre(affine, spacing):
    grid = Grid((11, 18, 23), affine)
    working = working_grid(grid, spacing)
    assert all(n % 8 == 0 for n in working.shape)
    np.testing.assert_allclose(working.spacing, np.broadcast_to(spacing, 3))
    np.testing.assert_allclose(working.center, grid.center, atol=1e-9)
    np.testing.assert_allclose(working.direction, grid.direction, atol=1e-9)
    extent = np.array(working.shape) * working.spacing
    assert (extent >= np.array(grid.shape) * grid.spacing - 1e-6).all()
    assert grid.overlap_fraction(working) == 1


def test_a_grid_that_fits_is_kept():
    grid = Grid((16, 24, 8), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert working_grid(grid, 2.0).same_as(grid)


def test_image_on_its_own_grid_is_only_normalised():
    grid = Grid((8, 8, 8), np.eye(4))
    data = 120 * torch.rand(1, 8, 8, 8) - 10
    torch.testing.assert_close(
        prepare_image(Volume(data, grid), grid, WINDOW), (data / 100).clamp(0, 1), rtol=1e-4, atol=1e-5
    )


def test_outside_of_the_image_is_zero():
    bright = Volume(50 + 10 * torch.rand(1, 32, 8, 8), Grid((32, 8, 8), np.eye(4)))
    grid = Grid((40, 8, 8), np.eye(4))
    out = prepare_image(bright, grid, WINDOW)
    assert out[:, 33:].abs().max() == 0
    assert out[:, :32].min() > 0.4
    dark = Volume(bright.data - 500, bright.grid)
    out = prepare_image(dark, grid, {**WINDOW, "low": -445, "high": 100, "clip": False})
    assert out[:, 33:].min() == out[:, 33:].max() == out.min() < 0


def test_contrast_beyond_the_window_is_none_for_a_network():
    volume = Volume(200 + torch.rand(1, 8, 8, 8), Grid((8, 8, 8), np.eye(4)))
    with pytest.raises(UserError, match="no contrast"):
        prepare_image(volume, volume.grid, {**WINDOW, "clip": False})


def test_transform_moves_the_sampling_points():
    data = torch.zeros(1, 8, 8, 8)
    data[0, 5, 4, 4] = 100
    shift = np.eye(4)
    shift[0, 3] = 2.0  # the point x of the grid is x + 2 mm in the image
    grid = Grid((8, 8, 8), np.eye(4))
    out = prepare_image(Volume(data, grid), grid, WINDOW, transform=shift)
    assert out[0, 3, 4, 4] == pytest.approx(1, abs=1e-4)


def test_no_contrast_within_the_window():
    volume = Volume(200 + torch.rand(1, 8, 8, 8), Grid((8, 8, 8), np.eye(4)))
    with pytest.raises(UserError, match="no contrast"):
        prepare_image(volume, volume.grid, WINDOW)


def test_the_border_of_a_thin_axis_is_repeated_and_its_field_of_view_is_not():
    image = Volume(50 + 10 * torch.rand(1, 32, 40, 6), Grid((32, 40, 6), np.diag([1.0, 1.0, 3.0, 1.0])))
    grid = Grid((40, 40, 48), translation(0, 0, -14))
    assert thin_axes(image.grid, grid) == [2]
    out = prepare_image(image, grid, WINDOW)
    inside = field_of_view(image, grid)
    assert inside.sum() == 32 * 40 * 18
    first = int(inside[0, 0, 0].nonzero()[0])
    ends = out[:, :32, :, first - 8 : first], out[:, :32, :, first + 18 : first + 18 + 8]
    for end, border in zip(ends, (image.data[..., :1], image.data[..., -1:]), strict=True):
        torch.testing.assert_close(end, (border / 100).expand_as(end), rtol=1e-4, atol=1e-4)
    assert out[..., : first - 9].abs().max() == out[..., first + 18 + 9 :].abs().max() == 0
    assert out[:, 33:].abs().max() == 0  # a long axis ends in 0


def test_thin_is_counted_in_working_voxels_along_the_axes_of_the_image():
    # 31 voxels of 1 mm along A, 20 of 2 mm along R, 300 of 0.1 mm along S.
    image = Grid((31, 20, 300), np.array([[0, 2.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0.1, 0], [0, 0, 0, 1]]))
    assert thin_axes(image, Grid((64, 64, 64), np.eye(4))) == [0, 2]
    assert thin_axes(image, Grid((64, 64, 64), np.diag([1.5, 0.9, 0.9, 1]))) == [1]


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((44, 59, 41), (1, 1, 1), 1.0),
        ((256, 256, 64), (1, 1, 8), 4.0),  # longest side 512 mm
        ((100, 100, 20), (1, 1, 8), 2.0),  # cube root of 8
    ],
)
def test_default_spacing(shape: tuple[int, int, int], spacing: tuple[float, ...], expected: float) -> None:
    assert default_spacing(Grid(shape, np.diag([*spacing, 1.0]))) == expected
