"""The pyramid on physics: identity, translations, grids of odd size, masks."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import DiffusionRegulariser, GaussianRegulariser, NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import identity_grid, warp
from mmreg_lightning.solvers.demons import DemonsSolver

INSIDE = (..., slice(8, -8), slice(8, -8), slice(8, -8))


def solver(levels=(4, 2, 1), iterations=20, regulariser=None):
    return DemonsSolver(DescentStep(regulariser or GaussianRegulariser(1.0, 0.5), alpha=0.05), levels, iterations)


@pytest.mark.parametrize("shape", [(32, 32, 32), (33, 35, 32), (35, 33, 34)], ids=str)
def test_translation_is_recovered(moved, shape):
    fixed, moving, t = moved(shape, (3.0, -2.0, 2.5))
    u = solver()(fixed, moving)
    assert u.shape == (1, 3, *shape)
    assert (u - t)[INSIDE].abs().max() < 0.3  # voxels


class ConstantStep:
    """Moves by one voxel along each axis, whatever the features."""

    def update(self, fixed, moving, displacement, weight=None):
        assert fixed.shape == moving.shape and fixed.shape[2:] == displacement.shape[2:]
        return torch.ones_like(displacement)

    def advance(self, displacement, update):
        return displacement + update


@pytest.mark.parametrize("shape", [(32, 32, 32), (33, 34, 35)], ids=str)
def test_a_voxel_of_a_level_is_as_many_voxels_as_its_factor(shape):
    # Also where sides are no multiples: 2 voxels at 1/4, 1 at 1/2 and 3 at full size are 2 * 4 + 2 + 3.
    features = torch.rand(1, 2, *shape)
    u = DemonsSolver(ConstantStep(), levels=(4, 2, 1), iterations=(2, 1, 3))(features, features)
    torch.testing.assert_close(u, torch.full((1, 3, *shape), 13.0))


@pytest.mark.parametrize("regulariser", [GaussianRegulariser(), DiffusionRegulariser(), NoRegulariser()])
def test_identity_stays_identity(pattern, regulariser):
    features = torch.rand(1, 4, 16, 32, 16)
    assert solver(iterations=3, regulariser=regulariser)(features, features).abs().max() == 0
    # On other sides sampling points are rounded to float32, and noise has the steepest gradients.
    features = pattern(identity_grid((18, 17, 19)))
    assert solver(iterations=3, regulariser=regulariser)(features, features).abs().max() < 1e-4


def test_a_finest_level_above_one_still_fills_the_grid(moved):
    fixed, moving, t = moved((33, 32, 34), (2.0, -1.0, 1.0))
    u = solver(levels=(4, 2), iterations=40)(fixed, moving)
    assert u.shape == (1, 3, 33, 32, 34)
    assert (u - t)[INSIDE].abs().max() < 0.5


def test_where_nothing_is_trusted_the_residual_is_irrelevant(moved):
    fixed, moving, _ = moved((24, 25, 24), (1.0, 0.0, 0.0))
    weight = torch.ones(1, 1, 24, 25, 24)
    weight[:, :, 8:16] = 0
    # Fixed forces: the symmetric ones would see the other values through the neighbours' central differences.
    step = DescentStep(NoRegulariser(), alpha=0.05, forces="moving")
    single = DemonsSolver(step, levels=(1,), iterations=5)
    other = fixed.clone()
    other[:, :, 8:16] = torch.rand(1, 8, 8, 25, 24)
    assert torch.equal(single(fixed, moving, weight=weight), single(other, moving, weight=weight))
    assert not torch.equal(single(fixed, moving), single(other, moving))
    assert single(fixed, moving, weight=weight)[:, :, 8:16].abs().max() == 0


def test_a_voxel_of_a_level_along_an_axis_that_is_not_halved():
    # As many iterations as above; along K all levels have full size.
    features = torch.rand(1, 2, 32, 16, 6)
    u = DemonsSolver(ConstantStep(), levels=(4, 2, 1), iterations=(2, 1, 3))(features, features)
    expected = torch.tensor([13.0, 13.0, 6.0]).view(1, 3, 1, 1, 1).expand(1, 3, 32, 16, 6)
    torch.testing.assert_close(u, expected)


def test_registration_lowers_the_residual(moved):
    fixed, moving, _ = moved((32, 32, 32), (2.0, 1.0, -2.0))
    before = (fixed - moving).square().mean()
    after = (fixed - warp(moving, solver()(fixed, moving))).square().mean()
    assert after < 0.1 * before


def test_progress_counts_every_iteration():
    seen = []
    features = torch.rand(1, 1, 16, 16, 16)
    solver(levels=(2, 1), iterations=(2, 3))(
        features, features, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("levels", "iterations"), [((), 5), ((1, 2), 5), ((2, 0), 5), ((2, 1), (5,)), ((2, 1), (5, -1))], ids=str
)
def test_unusable_pyramid(levels, iterations):
    with pytest.raises(UserError, match="solver"):
        solver(levels, iterations)


class Counting(DescentStep):
    """Counts how often it is asked for an update."""

    asked = 0

    def update(self, fixed, moving, displacement, weight=None):
        self.asked += 1
        return super().update(fixed, moving, displacement, weight)


@pytest.mark.parametrize(("tolerance", "asked"), [(0.001, 10), (0.0, 40)])
def test_a_level_ends_when_nothing_moves(moved, tolerance, asked):
    fixed, _, _ = moved((32, 32, 32), (0.0, 0.0, 0.0))
    step = Counting(GaussianRegulariser(), alpha=0.05)
    told = []
    DemonsSolver(step, levels=(2, 1), iterations=20, tolerance=tolerance)(
        fixed, fixed, progress=lambda done, total: told.append((done, total))
    )
    assert step.asked == asked
    assert told == [(i + 1, 40) for i in range(40)]


def test_stopping_early_changes_less_than_it_may(moved):
    fixed, moving, _ = moved((32, 32, 32), (1.5, -1.0, 0.5))
    step = Counting(GaussianRegulariser(), alpha=0.2)
    early = DemonsSolver(step, levels=(2, 1), iterations=300, tolerance=0.005)(fixed, moving)
    assert step.asked < 200
    whole = DemonsSolver(step, levels=(2, 1), iterations=300, tolerance=0.0)(fixed, moving)
    assert (early - whole)[INSIDE].norm(dim=1).mean() < 0.01
