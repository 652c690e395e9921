"""The layout of a file and the canonical array."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid


@pytest.fixture
def native() -> NativeGrid:
    """Axes to the posterior (2 mm), superior (4 mm) and right (3 mm), 5 x 6 x 7 voxels."""
    return NativeGrid((5, 6, 7), np.array([[0, 0, 3.0, 10], [-2.0, 0, 0, 20], [0, 4.0, 0, 30], [0, 0, 0, 1]]))


def test_canonical_axes_are_right_anterior_superior(native: NativeGrid) -> None:
    grid = native.canonical_grid
    assert grid.shape == (7, 5, 6)
    # The first canonical voxel is the file's last one along its first axis: A = 20 - 4 * 2.
    np.testing.assert_allclose(grid.affine, [[3, 0, 0, 10], [0, 2, 0, 12], [0, 0, 4, 30], [0, 0, 0, 1]])


def test_arrays_are_reordered_and_come_back(native: NativeGrid) -> None:
    array = np.arange(5 * 6 * 7 * 2).reshape(5, 6, 7, 2)
    canonical = native.to_canonical(array)
    assert canonical.shape == (7, 5, 6, 2)
    assert canonical[6, 0, 3].tolist() == array[4, 3, 6].tolist()
    np.testing.assert_array_equal(native.from_canonical(canonical), array)


def test_points_stay_in_place_in_the_world(native: NativeGrid) -> None:
    points = np.array([[0.0, 0, 0], [4, 3, 6], [1.5, 2, 0.25]])
    canonical = native.points_to_canonical(points)
    np.testing.assert_allclose(canonical[:2], [[0, 4, 0], [6, 0, 3]])
    np.testing.assert_allclose(
        transform_points(native.canonical_grid.affine, canonical), transform_points(native.affine, points)
    )
    np.testing.assert_allclose(native.points_from_canonical(canonical), points)


def test_a_grid_is_its_own_layout(oblique: np.ndarray) -> None:
    grid = Grid((3, 4, 5), oblique)
    native = NativeGrid.of(grid)
    assert native.canonical_grid.same_as(grid, tol=1e-9)
    array = np.arange(60).reshape(3, 4, 5)
    np.testing.assert_array_equal(native.to_canonical(array), array)
