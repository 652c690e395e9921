from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import Frame, transform_points
from mmreg_lightning.geometry.grid import Grid


@pytest.fixture
def grid() -> Grid:
    """Voxel (i, j, k) lies at R = 2 i + 10, A = 3 j - 5, S = 4 k."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (10, -5, 0)
    return Grid((5, 4, 3), affine)


def test_properties(grid: Grid) -> None:
    np.testing.assert_allclose(grid.spacing, [2, 3, 4])
    np.testing.assert_allclose(grid.direction, np.eye(3))
    np.testing.assert_allclose(grid.center, [14, -0.5, 4])


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame.VOXEL, [1, 2, 0]),
        (Frame.WORLD_RAS, [12, 1, 0]),
        (Frame.WORLD_LPS, [-12, -1, 0]),
        # order K, J, I: (2 k + 1) / K - 1 and so on
        (Frame.TORCH_CUBE, [-2 / 3, 1 / 4, -2 / 5]),
    ],
)
def test_a_voxel_in_every_frame(grid: Grid, frame: Frame, expected: list[float]) -> None:
    np.testing.assert_allclose(transform_points(grid.matrix(Frame.VOXEL, frame), [1, 2, 0]), expected, atol=1e-12)
    np.testing.assert_allclose(transform_points(grid.matrix(frame, Frame.VOXEL), expected), [1, 2, 0], atol=1e-12)


def test_the_cube_ends_at_the_outer_edges(grid: Grid) -> None:
    edge = transform_points(grid.matrix(Frame.VOXEL, Frame.TORCH_CUBE), [[-0.5, -0.5, -0.5], [4.5, 3.5, 2.5]])
    np.testing.assert_allclose(edge, [[-1, -1, -1], [1, 1, 1]], atol=1e-12)


def test_voxel_to_a_shifted_grid(grid: Grid) -> None:
    other = Grid((5, 4, 3), grid.affine @ np.array([[1, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    np.testing.assert_allclose(transform_points(grid.voxel_to(other), [1, 1, 1]), [0, 1, 1])


def test_resampled_keeps_centre_and_edges(grid: Grid) -> None:
    fine = grid.resampled((1, 1.5, 2))
    assert fine.shape == (10, 8, 6)
    # outer edge R = 9 in both grids: the first centre lies half a voxel from it
    np.testing.assert_allclose(fine.affine[:3, 3], [9.5, -5.75, -1])
    np.testing.assert_allclose(fine.center, grid.center)


def test_resampled_covers_the_field_of_view_when_the_spacing_does_not_divide_it(grid: Grid) -> None:
    coarse = grid.resampled(5)
    # extents 10, 12, 12 mm
    assert coarse.shape == (2, 3, 3)
    np.testing.assert_allclose(coarse.spacing, 5)
    np.testing.assert_allclose(coarse.center, grid.center)


def test_resampled_to_its_own_float32_spacing_is_itself() -> None:
    affine = np.diag([*np.float32([0.7, 1.1, 0.3]), 1]).astype(np.float64)
    grid = Grid((100, 90, 77), affine)
    assert grid.resampled((0.7, 1.1, 0.3)).same_as(grid)


@pytest.mark.parametrize("spacing", [0, -1, float("nan")])
def test_resampled_refuses_a_spacing_that_is_not_positive(grid: Grid, spacing: float) -> None:
    with pytest.raises(UserError, match=f"spacing={spacing}: must be positive"):
        grid.resampled(spacing)


@pytest.mark.parametrize(("voxels", "same"), [(0.05, True), (0.2, False)])
def test_same_as_is_measured_in_voxels(grid: Grid, voxels: float, same: bool) -> None:
    affine = grid.affine.copy()
    affine[2, 3] += voxels * 4
    assert Grid(grid.shape, affine).same_as(grid) is same


def test_same_as_sees_the_spacing_of_a_single_slice() -> None:
    assert not Grid((4, 4, 1), np.diag([1.0, 1, 1, 1])).same_as(Grid((4, 4, 1), np.diag([1.0, 1, 5, 1])))


def test_overlap_fraction(grid: Grid) -> None:
    affine = grid.affine.copy()
    affine[0, 3] += 5  # half of the extent of 10 mm
    assert grid.overlap_fraction(grid) == 1
    assert grid.overlap_fraction(Grid(grid.shape, affine)) == pytest.approx(0.5)
    affine[0, 3] += 100
    assert grid.overlap_fraction(Grid(grid.shape, affine)) == 0


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 2, 2), np.eye(4)),
        ((2, 2), np.eye(4)),
        ((2, 2, 2), np.zeros((4, 4))),
        ((2, 2, 2), np.diag([1, np.nan, 1, 1])),
        ((2, 2, 2), np.ones((4, 4))),
        ((2, 2, 2), np.eye(3)),
    ],
)
def test_degenerate_grids_are_refused(shape: tuple[int, int, int], affine: np.ndarray) -> None:
    with pytest.raises(ValueError):
        Grid(shape, affine)
