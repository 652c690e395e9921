"""The `diffusion` regulariser: one update of the whole grid that keeps the total displacement smooth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.errors import UserError


def diffusion_solve(system: Tensor, rhs: Tensor, displacement: Tensor, lam: float, iterations: int = 15) -> Tensor:
    """Update d that minimises ``|J d - r|^2 + alpha^2 |d|^2 + lam |grad(u + d)|^2`` over the whole grid.

    Its normal equations ``(A + lam L) d = b - lam L u``, with L the negative Laplacian that belongs to
    forward differences with natural (Neumann) borders, are solved by conjugate gradients that never build the
    matrix, preconditioned by its diagonal and started at 0. The number of iterations is fixed, so the result
    is differentiable by unrolling with respect to the three tensors. Samples of a batch do not influence each
    other.

    Args:
        system: A, (B, 6, I, J, K): the symmetric positive definite 3x3 matrix ``J'J + (alpha^2 + damping) 1``
            of each voxel, entries in the order 00, 01, 02, 11, 12, 22 of the axes I, J, K.
        rhs: b, (B, 3, I, J, K): ``J'r`` of each voxel.
        displacement: u, (B, 3, I, J, K): the displacement before the update, voxels of its own grid.
        lam: weight of the squared gradient of the displacement, at least 0, in squared feature units.
        iterations: number of conjugate gradient iterations, at least 1.

    Returns:
        d, (B, 3, I, J, K), voxels.

    Raises:
        UserError: lam or iterations is out of range, or the shapes of the tensors do not belong together.
    """
    if lam < 0 or iterations < 1:
        raise UserError(
            f"diffusion_solve needs lam >= 0 and iterations >= 1, not lam={lam} and iterations={iterations}."
        )
    if rhs.shape != displacement.shape or system.shape != (rhs.shape[0], 6, *rhs.shape[2:]):
        shapes = ", ".join(str(tuple(x.shape)) for x in (system, rhs, displacement))
        raise UserError(f"diffusion_solve needs (B, 6, I, J, K) and twice (B, 3, I, J, K), not {shapes}.")
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
        (a00 * x0 + a01 * x1 + a02 * x2, a01 * x0 + a11 * x1 + a12 * x2, a02 * x0 + a12 * x1 + a22 * x2),
        dim=1,
    )


def _negative_laplacian(x: Tensor) -> Tensor:
    """``grad' grad x``: what flows out of each voxel to its face neighbours; nothing crosses the border."""
    total = torch.zeros_like(x)
    for axis in (2, 3, 4):
        borders = [0] * 6
        borders[2 * (4 - axis)] = borders[2 * (4 - axis) + 1] = 1
        total = total - F.pad(x.diff(dim=axis), borders).diff(dim=axis)
    return total


def _neighbour_count(x: Tensor) -> Tensor:
    """Diagonal of :func:`_negative_laplacian`, (1, 1, I, J, K): how many face neighbours each voxel has."""
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
    """Quotient that is 0, with gradient 0, where the denominator has vanished on convergence."""
    vanished = denominator <= torch.finfo(denominator.dtype).tiny
    return (numerator / denominator.masked_fill(vanished, 1)).masked_fill(vanished, 0)
