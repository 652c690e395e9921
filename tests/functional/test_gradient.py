"""Derivatives of polynomials and Jacobians of affine maps."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.functional.gradient import gradient, jacobian_determinant, partial_derivative
from mmreg_lightning.functional.warp import identity_grid


def test_ramp_is_exact_up_to_the_border(dtype, assert_close):
    grid = identity_grid((5, 6, 7), dtype=dtype)
    ramp = 2 * grid[:, :1] - 3 * grid[:, 1:2] + 0.5 * grid[:, 2:]
    expected = torch.tensor([2, -3, 0.5], dtype=dtype).view(1, 1, 3, 1, 1, 1).expand(1, 1, 3, 5, 6, 7)
    assert_close(gradient(ramp), expected)


def test_parabola_is_central_inside_and_one_sided_at_the_border():
    parabola = identity_grid((5, 2, 2))[:, :1] ** 2
    assert partial_derivative(parabola, 0)[0, 0, :, 0, 0].tolist() == [1, 2, 4, 6, 7]


def test_two_voxels_are_enough():
    x = torch.tensor([1.0, 4.0]).view(1, 1, 2, 1, 1)
    assert partial_derivative(x, 0).flatten().tolist() == [3, 3]


def test_channels_stay_apart():
    grid = identity_grid((4, 4, 4))
    assert gradient(grid)[0, :, :, 1, 2, 3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_determinant_of_identity_is_one(dtype, assert_close):
    assert_close(jacobian_determinant(torch.zeros(2, 3, 4, 5, 6, dtype=dtype)), torch.ones(2, 1, 4, 5, 6, dtype=dtype))


def test_determinant_of_an_affine_map(dtype, assert_close):
    matrix = torch.tensor([[1.5, 0.25, 0.0], [-0.5, 1.0, 0.5], [0.0, 0.25, 0.5]], dtype=dtype)
    grid = identity_grid((5, 5, 5), dtype=dtype)
    field = torch.einsum("ab,nbijk->naijk", matrix, grid) - grid
    # 1.5 (1 * 0.5 - 0.5 * 0.25) - 0.25 (-0.5 * 0.5 - 0) = 0.5625 + 0.0625
    assert_close(jacobian_determinant(field), torch.full((1, 1, 5, 5, 5), 0.625, dtype=dtype))


@pytest.mark.parametrize("slab", [1, 40, 100])
@pytest.mark.parametrize("rows", [2, 3, 7])
def test_determinant_slab_by_slab(slab, rows, monkeypatch, assert_close):
    monkeypatch.setattr("mmreg_lightning.functional.gradient._SLAB", slab)
    field = torch.rand(2, 3, rows, 4, 5)
    jacobian = gradient(field).movedim((1, 2), (-2, -1)) + torch.eye(3)
    assert_close(jacobian_determinant(field), torch.linalg.det(jacobian)[:, None])


def test_reflection_has_negative_determinant():
    field = torch.zeros(1, 3, 4, 4, 4)
    field[:, 0] = -2 * identity_grid((4, 4, 4))[:, 0]
    assert jacobian_determinant(field).unique().tolist() == [-1]


def test_differentiable():
    x = torch.rand(1, 3, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gradient, (x,))
    assert torch.autograd.gradcheck(jacobian_determinant, (x,))
