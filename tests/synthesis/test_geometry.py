"""Where patches lie, and that the displacement between both views is the true one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.geometry import Geometry
from mmreg_lightning.synthesis.label_map import LabelMap
from mmreg_lightning.synthesis.shape_maps import random_shapes

SIDE = 32


@pytest.fixture(scope="module")
def label_map():
    regions = random_shapes(np.random.default_rng(3), 64)
    return LabelMap(regions, np.full(3, 3.0), ["any"] * (int(regions.max()) + 1))


def test_x_in_the_fixed_view_is_x_plus_u_in_the_moving_one(label_map):
    places = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"))
    for seed in range(6):
        fixed, moving, u = Geometry().draw(np.random.default_rng(seed), label_map, SIDE, 3.0)
        assert fixed.shape == moving.shape == (SIDE,) * 3 and u.shape == (3, SIDE, SIDE, SIDE)
        at = places + u
        inside = ((at >= 0) & (at <= SIDE - 1)).all(axis=0)
        warped = map_coordinates(moving, at, order=0)
        agree = (warped == fixed)[inside].mean()
        # The nearest voxel of the nearest voxel: borders differ by up to a voxel.
        assert agree > 0.8 and agree > (moving == fixed)[inside].mean() + 0.05


def test_views_are_displaced_as_far_as_they_may(label_map):
    geometry = Geometry(shift=9.0, near=0.5, near_shift=2.0, view_degrees=0, view_stretch=0, elastic=0)
    shifts = np.array(
        [geometry.draw(np.random.default_rng(seed), label_map, 8, 3.0)[2][:, 0, 0, 0] for seed in range(60)]
    )
    largest = np.abs(shifts).max(axis=1)
    assert largest.max() <= 9 and 0.3 < (largest <= 2).mean() < 0.75 and (np.abs(shifts).mean(axis=0) > 1).all()


def test_one_generator_gives_one_geometry(label_map):
    first, again, other = (Geometry().draw(np.random.default_rng(s), label_map, 16, 2.0) for s in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[2] != other[2]).any()


def test_the_elastic_part_does_not_fold(label_map):
    for seed in range(5):
        u = Geometry().draw(np.random.default_rng(seed), label_map, 48, 3.0)[2]
        jacobian = np.stack([np.stack(np.gradient(component)) for component in u])
        jacobian += np.eye(3)[:, :, None, None, None]
        assert (np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))) <= 0).mean() < 0.001


def test_patches_seldom_lie_in_air():
    regions = np.zeros((60, 60, 60), np.uint8)
    regions[40:48, 40:48, 40:48] = 1
    own = LabelMap(regions, np.ones(3), ["air", "bone"])
    shown = [Geometry().draw(np.random.default_rng(seed), own, 24, 1.0)[1].any() for seed in range(30)]
    assert np.mean(shown) > 0.15  # the box is 0.2 % of the map


def test_a_bound_that_is_none():
    with pytest.raises(UserError, match=r"^data.geometry.elastic=-1"):
        Geometry(elastic=-1)
