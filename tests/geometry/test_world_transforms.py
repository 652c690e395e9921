"""Transforms of points: inverses and chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wavy import an_affine, inner_points, wavy_field

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.world_transforms import (
    AffineTransform,
    ChainTransform,
    FieldTransform,
    map_points,
    transform_displacement,
)


@pytest.fixture
def field() -> FieldTransform:
    return wavy_field()


def test_points_come_back(field: FieldTransform) -> None:
    points = inner_points(field.grid)
    there = map_points(field, points)
    assert np.linalg.norm(there - points, axis=1).min() > 5
    errors = np.linalg.norm(map_points(field.inverse(), there) - points, axis=1)
    assert np.median(errors) < 0.01 and errors.max() < 0.1  # mm


def test_an_inverse_field_on_another_grid_brings_points_back(field: FieldTransform) -> None:
    points = inner_points(field.grid)
    there = map_points(field, points)
    low, high = there.min(0) - 10, there.max(0) + 10
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = low
    grid = Grid(tuple(int(n) for n in np.ceil((high - low) / 2)), affine)
    back = FieldTransform(transform_displacement(field.inverse(), grid)[0], grid)
    errors = np.linalg.norm(map_points(back, there) - points, axis=1)
    assert np.median(errors) < 0.1


@pytest.mark.parametrize("shape", [(20, 20, 20), (48, 52, 56)])  # searched directly, and from a coarse grid's inverse
def test_the_inverse_of_every_voxel_is_within_the_tolerance(field: FieldTransform, shape: tuple[int, int, int]) -> None:
    center = map_points(field, field.grid.center[None])[0]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = center - np.array(shape) / 2
    grid = Grid(shape, affine)
    inverse = FieldTransform(transform_displacement(field.inverse(), grid)[0], grid)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    errors = np.linalg.norm(map_points(field, map_points(inverse, points)) - points, axis=1)
    assert np.quantile(errors, 0.999) < 0.011  # mm


def test_a_fold_has_no_inverse_but_an_answer() -> None:
    grid = Grid((16, 16, 16), np.eye(4))
    displacement = torch.zeros(3, 16, 16, 16)
    displacement[0, 8:] = -4.0
    out = map_points(FieldTransform(displacement, grid).inverse(), inner_points(grid))
    assert np.isfinite(out).all()


def test_a_chain_is_passed_in_order_and_back(field: FieldTransform) -> None:
    affine = AffineTransform(an_affine(0.9))
    chain = ChainTransform([field, affine])
    points = inner_points(field.grid)
    expected = map_points(affine, map_points(field, points))
    np.testing.assert_allclose(map_points(chain, points), expected)
    np.testing.assert_allclose(map_points(chain.inverse(), expected), points, atol=0.1)


def test_what_a_field_covers(field: FieldTransform) -> None:
    points = torch.from_numpy(np.concatenate([inner_points(field.grid, 5), [[500.0, 0, 0]]]))
    assert field.covers(points).tolist() == [True] * 5 + [False]
    there = field(points)
    assert field.inverse().covers(there[:5]).all()
    assert not ChainTransform([AffineTransform(an_affine()), field]).covers(points + 300).any()
