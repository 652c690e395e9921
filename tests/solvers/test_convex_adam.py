"""The search of ConvexAdam, without its refinement."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.solvers.convex_adam import ConvexAdamSolver

INSIDE = (..., slice(8, -8), slice(8, -8), slice(8, -8))


class NoRefinement:
    """Returns its start."""

    iterations = 0

    def __call__(self, fixed, moving, start, weight=None, step_done=None, moving_weight=None):
        return start


def test_the_search_finds_a_shift_of_whole_search_voxels(moved):
    fixed, moving, t = moved((32, 32, 32), (4.0, -2.0, 6.0))
    u = ConvexAdamSolver(NoRefinement(), grid_spacing=2, radius=4)(fixed, moving)
    assert u.shape == (1, 3, 32, 32, 32)
    assert (u - t)[INSIDE].abs().max() < 0.3


def test_the_radius_bounds_the_search(moved):
    fixed, moving, _ = moved((32, 32, 32), (6.0, 0.0, 0.0))
    u = ConvexAdamSolver(NoRefinement(), grid_spacing=2, radius=1)(fixed, moving)
    assert u.abs().max() <= 2.0 + 1e-4  # one search voxel


def test_exchanged_images_give_the_inverse(moved):
    fixed, moving, _ = moved((32, 32, 32), (2.0, 2.0, -2.0))
    solver = ConvexAdamSolver(NoRefinement())
    forward, backward = solver(fixed, moving), solver(moving, fixed)
    assert (forward + backward)[INSIDE].abs().max() < 0.2


@pytest.mark.parametrize("shape", [(17, 16, 19), (16, 18, 16)])
def test_sides_need_not_be_multiples_of_the_search_grid(shape):
    features = torch.rand(1, 2, *shape)
    assert ConvexAdamSolver(NoRefinement())(features, features).shape == (1, 3, *shape)


def test_a_short_axis_has_a_finer_search_grid_and_is_searched_to_its_half(moved):
    solver = ConvexAdamSolver(NoRefinement(), grid_spacing=2, radius=4)
    assert solver._radii((16, 16, 6), (2, 2, 1)) == [4, 4, 3]
    assert solver._radii((8, 8, 4), (2, 2, 2)) == [4, 4, 4]  # long enough
    fixed, moving, t = moved((32, 32, 7), (4.0, -2.0, 1.0))
    u = solver(fixed, moving)
    assert u.shape == (1, 3, 32, 32, 7)
    # The border of thin features is everywhere: its lowest voxels lie outside of the moving ones.
    assert (u - t)[..., 8:-8, 8:-8, 1:5].abs().max() < 0.6
