"""The update of the whole grid that keeps the total displacement smooth (diffusion regularisation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.errors import UserError


def diffusion_solve(system: Tensor, rhs: Tensor, displacement: Tensor, lam: float, iterations: int = 15) -> Tensor:
    """Update d, (B, 3, I, J, K), of least ``|J d - r|^2 + alpha^2 |d|^2 + lam |grad(u + d)|^2`` over the whole grid.

    The normal equations are ``(A + lam L) d = b - lam L u``, with L the negative Laplacian of forward differences
    with natural (Neumann) borders. They are solved by matrix-free conjugate gradients with diagonal preconditioning,
    from 0. The number of iterations is fixed, so the result is differentiable with respect to the three tensors.

    Args:
        system: A, (B, 6, I, J, K), the symmetric positive definite matrix of each voxel, see ``TaylorSystem``.
        rhs: b, (B, 3, I, J, K), see ``TaylorSystem``.
        displacement: u, (B, 3, I, J, K), the displacement before the update, in voxels.
        lam: weight of the squared gradient, 0 or more, in squared feature units.
        iterations: number of conjugate gradient iterations, 1 or more.

    Raises:
        UserError: ``lam`` or ``iterations`` is out of range.
        ValueError: the shapes of the tensors do not match.
    """
    if lam < 0 or iterations < 1:
        raise UserError(f"lam={lam} and iterations={iterations}: must be 0 or more and 1 or more")
    if rhs.shape != displacement.shape or system.shape != (rhs.shape[0], 6, *rhs.shape[2:]):
        shapes = ", ".join(str(tuple(x.shape)) for x in (system, rhs, displacement))
        raise ValueError(f"diffusion_solve needs (B, 6, I, J, K) and twice (B, 3, I, J, K), not {shapes}")
    weight = 1 / (system[:, [0, 3, 5]] + lam * _neighbour_count(displacement))
    residual = rhs - lam * _negative_laplacian(displacement)
    solution = torch.zeros_like(residual)
    preconditioned = weight * residual
    direction = preconditioned
    energy = _dot(residual, preconditioned)
    for _ in range(iterations):
        image = _multiply(system, direction) + lam * _negative_laplacian(direction)
        step = _quotient(energy, _dot(direction, image))
        solution = solution + step * direction
        residual = residual - step * image
        preconditioned = weight * residual
        next_energy = _dot(residual, preconditioned)
        direction = preconditioned + _quotient(next_energy, energy) * direction
        energy = next_energy
    return solution


def _multiply(system: Tensor, x: Tensor) -> Tensor:
    """Product of the 3x3 matrix of each voxel, stored as its six entries, with the vector of the voxel."""
    a00, a01, a02, a11, a12, a22 = system.unbind(1)
    x0, x1, x2 = x.unbind(1)
    return torch.stack(
        (a00 * x0 + a01 * x1 + a02 * x2, a01 * x0 + a11 * x1 + a12 * x2, a02 * x0 + a12 * x1 + a22 * x2), dim=1
    )


def _negative_laplacian(x: Tensor) -> Tensor:
    """``grad' grad x``: sum of the differences to the face neighbours, without any across the border."""
    total = torch.zeros_like(x)
    for axis in (2, 3, 4):
        borders = [0] * 6
        borders[2 * (4 - axis)] = borders[2 * (4 - axis) + 1] = 1
        total = total - F.pad(x.diff(dim=axis), borders).diff(dim=axis)
    return total


def _neighbour_count(x: Tensor) -> Tensor:
    """Diagonal of the negative Laplacian, (1, 1, I, J, K): number of face neighbours of each voxel."""
    count = x.new_zeros((1, 1, *x.shape[2:]))
    for axis in (2, 3, 4):
        size = x.shape[axis]
        count.narrow(axis, 1, size - 1).add_(1)
        count.narrow(axis, 0, size - 1).add_(1)
    return count


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, (B, 1, 1, 1, 1)."""
    return (a * b).sum(dim=(1, 2, 3, 4), keepdim=True)


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient that is 0, with gradient 0, where the denominator is 0 after convergence."""
    vanished = denominator <= torch.finfo(denominator.dtype).tiny
    return (numerator / denominator.masked_fill(vanished, 1)).masked_fill(vanished, 0)
