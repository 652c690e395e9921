"""The unrolled descent: its states, its targets, its gradient."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import GaussianRegulariser, NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.unrolled import descend, unrolled_descent


@pytest.fixture
def maps():
    """Fixed and moving features, and fixed and moving target maps."""
    return [torch.rand(1, channels, 8, 8, 8) for channels in (2, 2, 1, 1)]


def test_each_step_starts_where_the_one_before_ended(maps):
    step, start = DescentStep(GaussianRegulariser()), 0.1 * torch.rand(1, 3, 8, 8, 8)
    steps = unrolled_descent(step, *maps, start, 3)
    for before, taken in zip([start, *(s.displacement for s in steps)], steps, strict=False):
        assert torch.equal(taken.update, step.update(*maps[:2], before))
        assert torch.equal(taken.target, step.update(*maps[2:], before))
        assert torch.equal(taken.displacement, step.advance(before, taken.update))


def test_descend_ends_where_the_unrolled_steps_end(maps):
    step, start = DescentStep(GaussianRegulariser()), torch.zeros(1, 3, 8, 8, 8)
    features = [x.requires_grad_() for x in maps[:2]]
    end = descend(step, *features, start, 3)
    assert not end.requires_grad
    assert torch.equal(end, unrolled_descent(step, *features, *maps[2:], start, 3)[-1].displacement)
    assert descend(step, *features, start, 0) is start


def test_weights_of_one_change_nothing(maps):
    step, start, ones = DescentStep(GaussianRegulariser()), torch.zeros(1, 3, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    plain, weighted = (unrolled_descent(step, *maps, start, 2, weights) for weights in (None, (ones, ones)))
    for a, b in zip(plain, weighted, strict=True):
        torch.testing.assert_close(a[:3], b[:3])
    torch.testing.assert_close(
        descend(step, *maps[:2], start, 2), descend(step, *maps[:2], start, 2, weights=(ones, ones))
    )


@pytest.mark.parametrize("masked", ["fixed", "moving"])
def test_what_lies_outside_a_mask_moves_nothing_and_does_not_count(maps, masked):
    step, start, ones = DescentStep(NoRegulariser()), torch.zeros(1, 3, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    half = ones.clone()
    half[:, :, 4:] = 0
    weights = (half, ones) if masked == "fixed" else (ones, half)
    steps = unrolled_descent(step, *maps, start, 1, weights)
    for tensor in steps[0][:3]:
        assert tensor[:, :, 4:].abs().max() == 0 and tensor[:, :, :4].abs().max() > 0
    assert descend(step, *maps[:2], start, 1, weights)[:, :, 4:].abs().max() == 0


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
