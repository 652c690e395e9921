"""The Taylor step: its bound, its closed forms, recovery of a known translation, gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mmreg_lightning.functional.taylor import (
    FORCES,
    solve_symmetric_3x3,
    taylor_step,
    taylor_system,
)
from mmreg_lightning.functional.warp import identity_grid, warp

SIX = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def waves(points):
    """Smooth features (B, 6, I, J, K) in [0, 1] at points (B, 3, I, J, K) in voxels, of Jacobian rank 3."""
    return 0.5 + 0.5 * torch.cat([torch.sin(points / 5), torch.cos(points / 5)], dim=1)


def dense(matrix):
    """(B, 6, I, J, K) as full matrices (B, I, J, K, 3, 3)."""
    full = matrix.new_zeros(matrix.shape[0], *matrix.shape[2:], 3, 3)
    for entry, (row, column) in enumerate(SIX):
        full[..., row, column] = full[..., column, row] = matrix[:, entry]
    return full


def test_solve_agrees_with_torch(dtype, assert_close):
    factor = torch.rand(2, 3, 4, 5, 3, 3, dtype=dtype)
    full = factor @ factor.mT + 0.5 * torch.eye(3, dtype=dtype)
    matrix = torch.stack([full[..., row, column] for row, column in SIX], dim=1)
    rhs = torch.rand(2, 3, 3, 4, 5, dtype=dtype)
    expected = torch.linalg.solve(full, rhs.movedim(1, -1)).movedim(-1, 1)
    assert_close(solve_symmetric_3x3(matrix, rhs), expected)


@pytest.mark.parametrize("forces", FORCES)
def test_equal_features_do_not_move(forces):
    features = torch.rand(1, 4, 5, 5, 5)
    step = taylor_step(features, features, alpha=0.1, max_step=1.0, forces=forces)
    assert step.abs().max() == 0


@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize("max_step", [0.5, 2.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_step_is_bounded(forces, max_step, scale):
    fixed, warped = scale * torch.rand(2, 1, 3, 9, 9, 9)
    step = taylor_step(fixed, warped, alpha=0.01 * scale, max_step=max_step, forces=forces)
    assert step.norm(dim=1).max() <= max_step * (1 + 1e-4)


def test_bound_is_reached(dtype, assert_close):
    # The slope r / (2 K) maximises the step; with r = 1 and K = 2 that is 1/4.
    fixed = 0.25 * identity_grid((5, 5, 5), dtype=dtype)[:, :1]
    step = taylor_step(fixed, fixed - 1, alpha=1e-4, max_step=2.0)
    assert_close(step[:, 0], torch.full((1, 5, 5, 5), 2.0, dtype=dtype).sub(4e-8 * 4))
    assert step[:, 1:].abs().max() == 0


def test_one_channel_closed_form(dtype, assert_close):
    # Slope 1/2 along J, residual 0.2, alpha 0.1, K 1: 0.5 * 0.2 / (0.25 + 0.01 + 0.04 / 4) = 0.1 / 0.27.
    fixed = 0.5 * identity_grid((4, 5, 6), dtype=dtype)[:, 1:2]
    step = taylor_step(fixed, fixed - 0.2, alpha=0.1, max_step=1.0)
    expected = torch.tensor([0, 0.1 / 0.27, 0], dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, 4, 5, 6)
    assert_close(step, expected)


@pytest.mark.parametrize(("forces", "slope"), [("fixed", 1.0), ("moving", 0.5), ("symmetric", 0.75)])
def test_forces_choose_the_gradient(forces, slope):
    ramp = identity_grid((6, 4, 4), dtype=torch.float64)[:, :1]
    matrix, _ = taylor_system(ramp, 0.5 * ramp, alpha=0.0, max_step=1e9, forces=forces)
    torch.testing.assert_close(matrix[:, 0], torch.full((1, 6, 4, 4), slope**2, dtype=torch.float64))


@pytest.mark.parametrize("forces", FORCES)
def test_system_is_the_normal_equations(forces, assert_close):
    fixed, warped = torch.rand(2, 1, 4, 5, 5, 5, dtype=torch.float64)
    matrix, rhs = taylor_system(fixed, warped, alpha=0.3, max_step=2.0, forces=forces)
    source = {"fixed": fixed, "moving": warped, "symmetric": (fixed + warped) / 2}[forces]
    jacobian = torch.stack(torch.gradient(source[0], dim=(1, 2, 3)), dim=-1).movedim(0, 3)  # (I, J, K, C, 3)
    residual = (fixed - warped)[0].movedim(0, -1)
    damping = 0.09 + residual.square().sum(-1) / 16
    normal = jacobian.mT @ jacobian + damping[..., None, None] * torch.eye(3, dtype=torch.float64)
    assert_close(dense(matrix)[0], normal)
    assert_close(rhs[0].movedim(0, -1), (jacobian.mT @ residual[..., None])[..., 0])


@pytest.mark.parametrize("forces", FORCES)
def test_moving_features_are_seen_under_the_displacement(forces):
    fixed, moving = torch.rand(2, 2, 4, 5, 6, 7)
    displacement = torch.rand(2, 3, 5, 6, 7) - 0.5
    seen = taylor_system(fixed, moving, displacement, alpha=0.1, max_step=1.0, forces=forces)
    warped = taylor_system(fixed, warp(moving, displacement), alpha=0.1, max_step=1.0, forces=forces)
    assert torch.equal(seen.matrix, warped.matrix) and torch.equal(seen.rhs, warped.rhs)


def test_no_trust_no_step():
    fixed, warped = torch.rand(2, 1, 4, 4, 4, 4)
    system = taylor_system(fixed, warped, alpha=0.1, max_step=1.0, weight=torch.zeros(1, 1, 4, 4, 4))
    assert solve_symmetric_3x3(*system).abs().max() == 0


def test_translation_is_recovered(dtype):
    points = identity_grid((20, 20, 20), dtype=dtype)
    translation = torch.tensor([0.3, -0.2, 0.4], dtype=dtype).view(1, 3, 1, 1, 1)
    # warped(x) = moving(x + u(x)) equals fixed for moving(x) = fixed(x - t) and u = t.
    fixed, moving = waves(points), waves(points - translation)
    inside = (..., slice(3, -3), slice(3, -3), slice(3, -3))
    displacement = torch.zeros_like(points)
    errors = []
    for _ in range(5):
        displacement = displacement + taylor_step(fixed, warp(moving, displacement), alpha=0.01, max_step=2.0)
        errors.append((displacement - translation)[inside].norm(dim=1).max().item())
    assert errors[0] < 0.02  # voxels; 0.54 before the first step
    assert errors[-1] < 0.002


@pytest.mark.parametrize("forces", FORCES)
def test_differentiable(forces):
    fixed, warped = torch.rand(2, 1, 2, 3, 3, 2, dtype=torch.float64).unbind(0)
    inputs = (fixed.clone().requires_grad_(), warped.clone().requires_grad_())
    assert torch.autograd.gradcheck(partial(taylor_step, alpha=0.2, max_step=1.0, forces=forces), inputs)
