"""The diffusion regulariser against a dense solve of its normal equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.diffusion import diffusion_solve
from mmreg_lightning.functional.taylor import solve_symmetric_3x3

SIX = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def problem(batch=1, shape=(4, 4, 4), dtype=torch.float64, damping=0.1):
    """Random positive definite systems, right-hand sides and displacements."""
    jacobian = torch.randn(batch, 5, 3, *shape, dtype=dtype)
    entries = [(jacobian[:, :, row] * jacobian[:, :, column]).sum(1) for row, column in SIX]
    system = torch.stack(entries, dim=1)
    system[:, [0, 3, 5]] += damping
    return system, torch.randn(batch, 3, *shape, dtype=dtype), torch.randn(batch, 3, *shape, dtype=dtype)


def dense_solution(system, rhs, displacement, lam):
    """The minimum for one sample, from the matrix of all unknowns (3 components of all voxels)."""
    shape = rhs.shape[2:]
    voxels = int(np.prod(shape))
    laplacian = np.zeros((voxels, voxels))
    for axis in range(3):
        difference = np.diff(np.eye(shape[axis]), axis=0)  # forward differences: none across the border
        factors = [np.eye(n) for n in shape]
        factors[axis] = difference
        gradient = np.kron(np.kron(factors[0], factors[1]), factors[2])
        laplacian += gradient.T @ gradient
    matrix = lam * np.kron(np.eye(3), laplacian)
    for entry, (row, column) in enumerate(SIX):
        block = np.diag(system[0, entry].numpy().ravel())
        matrix[row * voxels : (row + 1) * voxels, column * voxels : (column + 1) * voxels] += block
        if row != column:
            matrix[column * voxels : (column + 1) * voxels, row * voxels : (row + 1) * voxels] += block
    smoothness = lam * np.kron(np.eye(3), laplacian) @ displacement.numpy().ravel()
    return torch.from_numpy(np.linalg.solve(matrix, rhs.numpy().ravel() - smoothness)).view_as(rhs)


def roughness(displacement):
    return sum(displacement.diff(dim=axis).square().sum() for axis in (2, 3, 4))


@pytest.mark.parametrize("lam", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 3, 5), (1, 4, 3)])
def test_agrees_with_dense_solve(lam, shape, assert_close):
    tensors = problem(shape=shape)
    assert_close(diffusion_solve(*tensors, lam, iterations=200), dense_solution(*tensors, lam))


def test_default_number_of_iterations_is_enough_for_a_percent():
    tensors = problem(dtype=torch.float32)
    expected = dense_solution(*tensors, 1.0)
    assert (diffusion_solve(*tensors, 1.0) - expected).norm() < 0.01 * expected.norm()


def test_without_weight_it_is_the_voxelwise_solve(assert_close):
    system, rhs, displacement = problem()
    expected = solve_symmetric_3x3(system, rhs)
    assert_close(diffusion_solve(system, rhs, displacement, 0.0, iterations=200), expected)


def test_large_weight_gives_the_common_translation():
    system = torch.zeros(1, 6, 4, 4, 4, dtype=torch.float64)
    system[:, [0, 3, 5]] = 1.0
    rhs = torch.randn(1, 3, 4, 4, 4, dtype=torch.float64)
    update = diffusion_solve(system, rhs, torch.zeros_like(rhs), 1e6, iterations=60)
    mean = rhs.mean(dim=(2, 3, 4), keepdim=True)
    torch.testing.assert_close(update, mean.expand_as(rhs), rtol=0, atol=1e-5)


def test_rough_displacement_is_smoothed_without_any_force():
    system, _, displacement = problem(shape=(6, 6, 6))
    update = diffusion_solve(system, torch.zeros_like(displacement), displacement, 2.0)
    assert roughness(displacement + update) < 0.5 * roughness(displacement)


def test_nothing_to_do_gives_zero_with_finite_gradients():
    system, rhs, _ = problem()
    rhs = torch.zeros_like(rhs).requires_grad_()
    translation = torch.full_like(rhs, 1.5)
    update = diffusion_solve(system, rhs, translation, 0.5)
    update.sum().backward()
    assert update.abs().max() == 0
    assert rhs.grad is not None and rhs.grad.isfinite().all()


def test_samples_do_not_influence_each_other(assert_close):
    system, rhs, displacement = problem(batch=2)
    together = diffusion_solve(system, rhs, displacement, 0.7)
    alone = diffusion_solve(system[1:], rhs[1:], displacement[1:], 0.7)
    assert_close(together[1:], alone)


def test_differentiable():
    tensors = tuple(t.requires_grad_() for t in problem(shape=(2, 3, 2), damping=1.0))
    assert torch.autograd.gradcheck(lambda *t: diffusion_solve(*t, 0.5, iterations=4), tensors)


@pytest.mark.parametrize(("lam", "iterations"), [(-1.0, 5), (1.0, 0)])
def test_bad_numbers(lam, iterations):
    with pytest.raises(UserError, match=f"lam={lam} and iterations={iterations}"):
        diffusion_solve(*problem(), lam, iterations)


def test_bad_shapes():
    system, rhs, displacement = problem()
    with pytest.raises(ValueError, match="not \\(1, 5, 4, 4, 4\\)"):
        diffusion_solve(system[:, :5], rhs, displacement, 1.0)
