"""One regularised step: identity, bound, direction, derivatives."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import DiffusionRegulariser, GaussianRegulariser, NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.targets import OneHotTargets, SignedDistanceTargets, paired_targets
from mmreg_lightning.descent.unrolled import unrolled_descent
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import identity_grid

REGULARISERS = [GaussianRegulariser(), DiffusionRegulariser(iterations=4), NoRegulariser()]


def ball(centre, radius, side=24):
    """Label map (1, 1, side, side, side) with a ball of label 1."""
    points = identity_grid((side,) * 3)
    centre = torch.tensor(centre).view(1, 3, 1, 1, 1)
    return ((points - centre).square().sum(1, keepdim=True) <= radius**2).long()


@pytest.mark.parametrize("regulariser", REGULARISERS, ids=lambda r: type(r).__name__)
def test_equal_features_do_not_move(regulariser):
    # On sides that are powers of two the sampling points of no displacement are exact in float32.
    features = torch.rand(1, 3, 8, 16, 4)
    zero = torch.zeros(1, 3, 8, 16, 4)
    step = DescentStep(regulariser)
    update = step.update(features, features, zero)
    assert update.abs().max() == 0
    assert step.advance(zero, update).abs().max() == 0


@pytest.mark.parametrize("max_step", [0.5, 2.0])
@pytest.mark.parametrize("regulariser", [GaussianRegulariser(), NoRegulariser()], ids=lambda r: type(r).__name__)
def test_no_step_is_longer_than_its_bound(regulariser, max_step):
    fixed, moving = torch.rand(2, 1, 4, 9, 9, 9)
    update = DescentStep(regulariser, alpha=1e-2, max_step=max_step).update(fixed, moving, torch.zeros(1, 3, 9, 9, 9))
    assert update.norm(dim=1).max() <= max_step * (1 + 1e-4)


@pytest.mark.parametrize("regulariser", REGULARISERS, ids=lambda r: type(r).__name__)
def test_gradient_of_one_iteration(regulariser):
    fixed, moving = (torch.rand(1, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    start = 0.3 * torch.rand(1, 3, 3, 2, 3, dtype=torch.float64)
    step = DescentStep(regulariser, alpha=0.2)

    def iteration(f, m):
        update = step.update(f, m, start)
        return update, step.advance(start, update)

    assert torch.autograd.gradcheck(iteration, (fixed, moving))


def test_gradient_reaches_the_features_through_all_steps():
    fixed, moving = (torch.rand(1, 2, 8, 8, 8, requires_grad=True) for _ in range(2))
    targets = torch.rand(2, 1, 1, 8, 8, 8)
    step = DescentStep(GaussianRegulariser())
    start = torch.zeros(1, 3, 8, 8, 8)
    steps = unrolled_descent(step, fixed, moving, *targets, start, 3)
    assert len(steps) == 3
    assert not any(s.target.requires_grad for s in steps)
    # The displacement after the last step depends on the first step too: cutting it off changes the gradient.
    through = torch.autograd.grad(steps[-1].displacement.square().sum(), (fixed, moving), retain_graph=True)
    last = unrolled_descent(step, fixed, moving, *targets, steps[1].displacement.detach(), 1)[0]
    torch.testing.assert_close(last.displacement, steps[-1].displacement)
    cut = torch.autograd.grad(last.displacement.square().sum(), (fixed, moving))
    assert all(gradient.abs().sum() > 0 for gradient in through)
    assert not any(torch.allclose(a, b) for a, b in zip(through, cut, strict=True))


@pytest.mark.parametrize("psi", [OneHotTargets(1.0), SignedDistanceTargets(3.0)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("direction", [(2.0, 0.0, 0.0), (0.0, -2.0, 0.0), (1.5, 0.0, -1.5)], ids=str)
def test_supervised_step_points_to_the_organ(psi, direction):
    # moving(x + u) = fixed(x): the moving ball lies at centre + t, so u = t.
    fixed = ball((12.0, 12.0, 12.0), 5.0)
    moving = ball(tuple(12.0 + d for d in direction), 5.0)
    targets = paired_targets(psi, fixed, moving, [1], stride=1)
    step = DescentStep(NoRegulariser(), alpha=0.05)
    update = step.update(*targets, torch.zeros(1, 3, 24, 24, 24))
    mean = update.sum(dim=(0, 2, 3, 4))
    t = torch.tensor(direction)
    assert torch.nn.functional.cosine_similarity(mean, t, dim=0) > 0.99
    assert update.norm(dim=1).max() <= 1 + 1e-4


def test_organ_of_one_image_contributes_nothing():
    fixed, moving = ball((12.0, 12.0, 12.0), 4.0), ball((13.0, 12.0, 12.0), 4.0)
    lonely = fixed.clone()
    lonely[:, :, :4] = 2
    with_it = paired_targets(OneHotTargets(0.0), lonely, moving, [1, 2], stride=1)
    without = paired_targets(OneHotTargets(0.0), fixed, moving, [1, 2], stride=1)
    assert with_it[0][:, 1].abs().max() == 0
    assert torch.equal(with_it[0], without[0]) and torch.equal(with_it[1], without[1])


def test_shared_organs_are_found_for_each_item_of_a_batch():
    empty = torch.zeros(1, 1, 24, 24, 24, dtype=torch.long)
    organ = ball((12.0, 12.0, 12.0), 4.0)
    fixed, _ = paired_targets(OneHotTargets(0.0), torch.cat([organ, organ]), torch.cat([organ, empty]), [1], stride=2)
    assert fixed.shape == (2, 1, 12, 12, 12)
    assert fixed[0].max() == 1 and fixed[1].max() == 0


@pytest.mark.parametrize("wrong", [{"forces": "both"}, {"alpha": 0.0}, {"alpha": -1.0}, {"max_step": 0.0}], ids=str)
def test_value_out_of_range(wrong):
    with pytest.raises((ValueError, UserError), match=f"step.{next(iter(wrong))}"):
        DescentStep(NoRegulariser(), **wrong)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, float("nan")])
def test_alpha_below_the_rounding_of_the_solution_is_refused(alpha):
    with pytest.raises((ValueError, UserError), match="step.alpha"):
        DescentStep(NoRegulariser(), alpha=alpha)
