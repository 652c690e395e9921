"""Transforms of points: inverses and chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wavy import an_affine, inner_points, wavy_field

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.world_transforms import (
    AffineTransform,
    ChainTransform,
    FieldTransform,
    least_squares_affine,
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


def shifted_then(affine: np.ndarray, grid: Grid) -> FieldTransform:
    """A shift by (2, -3, 1) voxels and then an affine, which the field is told to go on with."""
    shift = torch.tensor([2.0, -3.0, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, *grid.shape)
    return FieldTransform(then_affine(shift, grid, affine)[0], grid, AffineTransform(affine))


@pytest.mark.parametrize("known", [True, False], ids=["affine given", "closest affine"])
def test_outside_of_the_field_the_affine_goes_on(known: bool) -> None:
    grid = wavy_field().grid
    field = shifted_then(an_affine(), grid)
    if not known:
        field = FieldTransform(field.displacement, grid)
    outside = transform_points(grid.affine, np.array([[-20.0, 10, 10], [60, 50, 70], [15, -40, 20]]))  # 40 mm and more
    assert not field.covers(torch.from_numpy(outside)).any()
    expected = transform_points(an_affine() @ grid.affine, np.array([[-18.0, 7, 11], [62, 47, 71], [17, -43, 21]]))
    np.testing.assert_allclose(map_points(field, outside), expected, atol=2e-3)
    np.testing.assert_allclose(map_points(field.inverse(), expected), outside, atol=0.02)
    wider = Grid((60, 56, 64), grid.affine @ np.array([[1, 0, 0, -10], [0, 1, 0, -10], [0, 0, 1, -10], [0, 0, 0, 1.0]]))
    image = transform_displacement(field, wider)
    assert torch.allclose(image, shifted_then(an_affine(), wider).displacement, atol=2e-3), "images, too"


def test_the_continuation_begins_where_the_field_ends(field: FieldTransform) -> None:
    edge = transform_points(field.grid.affine, np.array([[39.0, 20.3, 11.7]]))
    step = field.grid.direction[:, 0] * 1e-4  # mm
    there = map_points(field, np.concatenate([edge - step, edge, edge + step]))
    assert np.linalg.norm(np.diff(there, axis=0), axis=1).max() < 1e-3


def test_an_affine_of_one_plane_is_not_determined() -> None:
    plane = np.random.default_rng(0).uniform(-10, 10, (20, 3)) * [1, 1, 0]
    assert np.array_equal(least_squares_affine(plane, plane + [1, 2, 3]).matrix, np.eye(4))
    points = np.random.default_rng(0).uniform(-10, 10, (20, 3))
    found = least_squares_affine(points, transform_points(an_affine(), points)).matrix
    np.testing.assert_allclose(found, an_affine(), atol=1e-9)
