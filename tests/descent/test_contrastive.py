"""The contrastive loss of views whose displacement is known."""

from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.descent.contrastive import VoxelContrast
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import warp

SIDE, STRIDE = 10, 2


def displaced(shift):
    """Random features of a moving view, those of the fixed one, and the displacement in voxels of the images."""
    moving = torch.rand(2, 16, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    u = torch.tensor(shift).view(1, 3, 1, 1, 1).expand(2, 3, *(STRIDE * SIDE,) * 3).contiguous()
    return warp(moving, u[:, :, ::2, ::2, ::2] / STRIDE), moving, u


def test_features_that_agree_at_the_true_displacement_are_told_apart():
    fixed, moving, u = displaced([4.0, -2.0, 0.0])
    loss = VoxelContrast(places=128, temperature=0.1, apart=0)
    right, wrong = loss(fixed, moving, u, STRIDE, 0), loss(fixed, moving, torch.zeros_like(u), STRIDE, 0)
    assert float(right) < 0.01 < math.log(128) < float(wrong)


def test_features_that_tell_nothing_cost_the_logarithm_of_the_places():
    same = torch.full((1, 4, SIDE, SIDE, SIDE), 0.5)
    u = torch.zeros(1, 3, *(STRIDE * SIDE,) * 3)
    assert float(VoxelContrast(places=100, apart=0)(same, same, u, STRIDE, 0)) == pytest.approx(math.log(100), rel=1e-5)


def test_it_is_info_nce_both_ways():
    fixed, moving, u = displaced([0.0, 0.0, 0.0])
    fixed = fixed + 0.1 * torch.rand_like(fixed)
    count = SIDE**3
    got = VoxelContrast(places=count, temperature=0.5, apart=0)(fixed[:1], moving[:1], u[:1], STRIDE, 0)
    a, b = fixed[0].flatten(1).T.double(), moving[0].flatten(1).T.double()
    likeness = torch.exp(-((a[:, None] - b[None]) ** 2).sum(2) / 0.5)
    share = likeness.diag() / likeness.sum(1), likeness.diag() / likeness.sum(0)
    assert float(got) == pytest.approx(float(-0.5 * (share[0].log().mean() + share[1].log().mean())), rel=1e-4)


def test_near_places_are_not_told_apart():
    plane = torch.linspace(0, 1, SIDE).view(1, 1, SIDE, 1, 1).expand(1, 8, SIDE, SIDE, SIDE).contiguous()
    u = torch.zeros(1, 3, *(STRIDE * SIDE,) * 3)
    losses = [float(VoxelContrast(places=300, apart=apart)(plane, plane, u, STRIDE, 0)) for apart in (0, 2, 4, 99)]
    assert losses[0] > losses[1] > losses[2] > losses[3] == pytest.approx(0.0, abs=1e-6)


def test_places_outside_the_moving_view_do_not_count_and_a_batch_without_any_has_no_gradient():
    fixed, moving, u = displaced([0.0, 0.0, 0.0])
    features = fixed.clone().requires_grad_()
    loss = VoxelContrast()(features, moving, u + 100, STRIDE, 0)
    loss.backward()
    assert float(loss.detach()) == 0 and float(features.grad.abs().max()) == 0
    half = u.clone()
    half[:, 0] = STRIDE * SIDE / 2
    features = fixed.clone().requires_grad_()
    VoxelContrast(places=1000)(features, moving, half, STRIDE, 0).backward()
    reached = features.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert reached.tolist() == [True] * 5 + [False] * 5


def test_the_seed_draws_the_places():
    fixed, moving, u = displaced([1.0, 0.0, 0.0])
    loss = VoxelContrast(places=32)
    values = [float(loss(fixed, moving + 0.2, u, STRIDE, seed)) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("arguments", [{"places": 0}, {"temperature": 0.0}, {"temperature": -1.0}, {"apart": -1.0}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(UserError, match=r"^training.contrast\."):
        VoxelContrast(**arguments)
