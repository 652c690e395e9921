"""Affine registration of features that lie on unrelated grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.solvers.affine import AFFINE_KINDS, AffineRegistration, FeatureMap

CENTER = np.array([10.0, -20.0, 30.0])  # of the fixed image, mm
POINTS = CENTER + np.random.default_rng(0).uniform(-60, 60, (200, 3))


def grid(shape, spacing, turn=(0, 0, 0), center=CENTER):
    """A grid about ``center``, its axes turned by Euler angles in degrees."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def transform(rotate=(0, 0, 0), scale=1.0, shear=0.0, shift=(0, 0, 0)):
    """4x4, world to world, about ``CENTER``."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotate, degrees=True).as_matrix() * scale
    matrix[0, 1] += shear
    matrix[:3, 3] = CENTER - matrix[:3, :3] @ CENTER + np.array(shift)
    return matrix


def see(pattern, on, to_fixed=None, period=80.0):
    """Features of a pattern in the fixed image's world, on a grid whose world ``to_fixed`` takes to the fixed one's."""
    world = transform_points(on.affine, identity_grid(on.shape)[0].flatten(1).T.numpy())
    world = world if to_fixed is None else transform_points(to_fixed, world)
    points = torch.from_numpy(world.T.reshape(1, 3, *on.shape)).float()
    return FeatureMap(pattern(points, period), torch.ones(1, 1, *on.shape), on)


def error(found, true):
    """Largest distance, mm, between where both transforms take points of the fixed image."""
    return np.linalg.norm(transform_points(found, POINTS) - transform_points(true, POINTS), axis=1).max()


TRUE = {
    "rigid": transform(rotate=(9, -12, 8), shift=(12, -9, 6)),
    "similarity": transform(rotate=(-6, 9, 10), scale=1.12, shift=(-8, 8, 5)),
    "affine": transform(rotate=(5, 6, -7), scale=0.92, shear=0.12, shift=(5, 5, -9)),
}


@pytest.mark.parametrize("kind", AFFINE_KINDS)
def test_known_transform_is_recovered_between_unrelated_grids(pattern, kind):
    true = TRUE[kind]
    fixed = see(pattern, grid((40, 36, 38), 5.0, (10, 0, -5)))
    moving_center = transform_points(true, CENTER[None])[0]
    moving = see(pattern, grid((44, 48, 42), (4.5, 4.0, 5.0), (0, 20, 30), moving_center), np.linalg.inv(true))
    found = AffineRegistration(kind)(fixed, moving, [np.eye(4)])
    assert error(np.eye(4), true) > 15
    assert error(found, true) < 0.5
    if kind == "rigid":
        np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_best_start_goes_on(pattern):
    true = transform(shift=(150, 0, 0))  # further than the pattern's period
    fixed = see(pattern, grid((32, 32, 32), 5.0))
    moving = see(pattern, grid((32, 32, 32), 5.0, center=CENTER + [150, 0, 0]), np.linalg.inv(true))
    near = transform(shift=(140, 5, 5))
    register = AffineRegistration("rigid")
    assert error(register(fixed, moving, [np.eye(4), near]), true) < 0.5
    assert error(register(fixed, moving, [near, np.eye(4)]), true) < 0.5


def test_what_is_not_trusted_does_not_count(pattern):
    true = TRUE["rigid"]
    fixed = see(pattern, grid((36, 36, 36), 5.0))
    moving = see(pattern, grid((40, 40, 40), 5.0), np.linalg.inv(true))
    inside = torch.ones_like(fixed.inside)
    inside[..., 18:] = 0
    spoilt = fixed.features.clone()
    spoilt[..., 18:] = torch.rand_like(spoilt[..., 18:])
    register = AffineRegistration("rigid")
    trusted = error(register(FeatureMap(spoilt, inside, fixed.grid), moving, [np.eye(4)]), true)
    assert trusted < 1.5


def test_images_without_common_content_stay_at_the_start():
    blank = torch.full((1, 3, 16, 16, 16), 0.5)
    fixed = FeatureMap(blank, torch.ones(1, 1, 16, 16, 16), grid((16, 16, 16), 5.0))
    start = transform(shift=(3, 0, 0))
    np.testing.assert_array_equal(AffineRegistration("affine")(fixed, fixed, [start]), start)


@pytest.mark.parametrize("wrong", [{"kind": "elastic"}, {"levels": (0,)}, {"iterations": 0}])
def test_unusable_values(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        AffineRegistration(**wrong)


def test_a_slab_is_searched_coarse_to_fine_in_its_plane(pattern):
    true = transform(rotate=(0, 0, 8), shift=(14, -9, 0))
    fixed = see(pattern, grid((48, 44, 6), 5.0))
    moving = see(pattern, grid((48, 48, 40), 5.0), np.linalg.inv(true))
    register = AffineRegistration("rigid")
    assert register._usable(fixed.grid, moving.grid) == [
        ((4, 4, 1), (4, 4, 4)),
        ((2, 2, 1), (2, 2, 2)),
        ((1, 1, 1),) * 2,
    ]
    found = register(fixed, moving, [np.eye(4)])
    corners = transform_points(fixed.grid.affine, np.array([[5, 5, 1], [42, 5, 4], [5, 38, 4], [42, 38, 1]]))
    assert np.linalg.norm(transform_points(found, corners) - transform_points(true, corners), axis=1).max() < 1.0
