"""One regularised step: identity, bound, direction, derivatives."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import DiffusionRegulariser, GaussianRegulariser, NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.errors import UserError

REGULARISERS = [GaussianRegulariser(), DiffusionRegulariser(iterations=4), NoRegulariser()]


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


@pytest.mark.parametrize("wrong", [{"forces": "both"}, {"alpha": 0.0}, {"alpha": -1.0}, {"max_step": 0.0}], ids=str)
def test_value_out_of_range(wrong):
    with pytest.raises(UserError, match=f"step.{next(iter(wrong))}"):
        DescentStep(NoRegulariser(), **wrong)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, float("nan")])
def test_alpha_below_the_rounding_of_the_solution_is_refused(alpha):
    with pytest.raises(UserError, match="step.alpha"):
        DescentStep(NoRegulariser(), alpha=alpha)
