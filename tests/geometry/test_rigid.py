"""Sheared grids and the rigid ones that stand in for them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from headers import oblique_affine, straight_affine

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.rigid import farthest, is_nearly_rigid, is_rigid, rigid_grid, without_shear

SHAPE = (30, 24, 18)


def tilted(degrees: float) -> np.ndarray:
    """Slices of a gantry that is tilted about the first axis: they stay parallel, each further along the second one."""
    affine = oblique_affine()
    unit = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    affine[:3, 2] += unit * np.linalg.norm(affine[:3, 2]) * np.tan(np.deg2rad(degrees))
    return affine


def skewed() -> np.ndarray:
    """No two axes at right angles, as after an affine registration."""
    affine = oblique_affine()
    affine[:3, :3] = affine[:3, :3] @ np.array([[1, 0.2, 0.1], [0, 1, -0.15], [0, 0, 1]])
    return affine


def corners(grid: Grid) -> np.ndarray:
    ends = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.shape))))
    return ends @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def test_what_is_rigid(affine: np.ndarray) -> None:
    assert is_rigid(affine)
    assert not is_rigid(tilted(1))
    # One ten-thousandth is what ITK accepts.
    assert is_rigid(straight_affine() + np.array([[0, 1e-4, 0, 0], *np.zeros((3, 4))]))
    assert not is_rigid(straight_affine() + np.array([[0, 1e-3, 0, 0], *np.zeros((3, 4))]))


def test_a_rigid_grid_is_its_own(affine: np.ndarray) -> None:
    grid = Grid(SHAPE, affine)
    assert rigid_grid(grid) is grid


@pytest.mark.parametrize("sheared", [tilted(15), tilted(-25), skewed()], ids=["tilt", "other tilt", "skew"])
def test_the_rigid_grid_covers_the_field_of_view(sheared: np.ndarray) -> None:
    grid = Grid(SHAPE, sheared)
    rigid = rigid_grid(grid)
    assert is_rigid(rigid.affine)
    np.testing.assert_allclose(rigid.center, grid.center)
    inside = corners(grid) @ np.linalg.inv(rigid.affine)[:3, :3].T + np.linalg.inv(rigid.affine)[:3, 3]
    assert (inside >= -0.5 - 1e-2).all() and (inside <= np.array(rigid.shape) - 0.5 + 1e-2).all()
    # It is not larger than that: along each axis the outermost corners are within a voxel of its ends.
    assert (inside.min(axis=0) < 0.5).all() and (inside.max(axis=0) > np.array(rigid.shape) - 1.5).all()


def test_slices_of_a_tilted_gantry_remain_slices() -> None:
    grid = Grid(SHAPE, tilted(15))
    rigid = rigid_grid(grid)
    assert rigid.shape[2] == SHAPE[2]
    np.testing.assert_allclose(rigid.spacing, (1.5, 2.0, 0.8))  # the distance of the slices, not their offset
    voxels = np.array([[3.0, 5.0, k] for k in range(SHAPE[2])])
    np.testing.assert_allclose(
        (voxels @ grid.voxel_to(rigid)[:3, :3].T + grid.voxel_to(rigid)[:3, 3])[:, 2], np.arange(SHAPE[2]), atol=1e-6
    )


def test_a_shear_of_rounding_keeps_the_voxels() -> None:
    affine = oblique_affine()
    affine[:3, :3] = np.round(affine[:3, :3], 3)
    grid = Grid(SHAPE, affine)
    assert not is_rigid(affine) and is_nearly_rigid(grid)
    straight = without_shear(grid)
    assert straight.shape == SHAPE and is_rigid(straight.affine)
    np.testing.assert_allclose(straight.spacing, grid.spacing)
    assert 0 < farthest(straight.affine, affine, SHAPE) < 0.08
    assert rigid_grid(grid).shape == SHAPE


def test_the_closest_directions() -> None:
    grid = Grid(SHAPE, skewed())
    ours = np.linalg.norm(without_shear(grid).direction - grid.direction)
    for angle, axis in itertools.product((-0.05, 0.05), range(3)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        assert np.linalg.norm(turn @ without_shear(grid).direction - grid.direction) > ours


def test_farthest_is_at_a_corner() -> None:
    other = straight_affine()
    other[0, 3] += 3
    other[1, 3] -= 4
    assert farthest(straight_affine(), other, SHAPE) == pytest.approx(5)
    wider = straight_affine()
    wider[0, 0] *= 2
    assert farthest(straight_affine(), wider, SHAPE) == pytest.approx(29 * 1.5)
