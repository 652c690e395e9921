"""One step of a first-order Taylor (Demons / Gauss-Newton) descent on multi-channel features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.functional.products import Forces, feature_products

FORCES: tuple[Forces, ...] = ("symmetric", "fixed", "moving")


class TaylorSystem(NamedTuple):
    """The normal equations of one step: a symmetric 3x3 system in every voxel.

    Attributes:
        matrix: (B, 6, I, J, K), ``J'J`` plus damping, order 00, 01, 02, 11, 12, 22.
        rhs: (B, 3, I, J, K), ``J'r``.
    """

    matrix: Tensor
    rhs: Tensor


def taylor_system(
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor | None = None,
    *,
    alpha: float,
    max_step: float,
    forces: Forces = "symmetric",
    weight: Tensor | None = None,
) -> TaylorSystem:
    """Normal equations of the step ``d`` that minimises ``|J d - r|^2 + (alpha^2 + |r|^2 / (4 K^2)) |d|^2``.

    ``r = f - m_u`` is the residual, J the feature gradient, see ``feature_products``. The second damping term is
    Thirion's (Med. Image Anal. 1998) for many channels. It bounds the step by K: |d| is at most the maximum over s of
    ``s |r| / (s^2 + |r|^2 / (4 K^2))``, which is K.

    Args:
        fixed, moving: (B, C, I, J, K) features, the moving ones not warped.
        displacement: u, (B, 3, I, J, K) in voxels; None is zero displacement.
        alpha: noise floor, in units of feature values.
        max_step: K in voxels.
        forces: ``symmetric``, ``fixed`` or ``moving`` gradients.
        weight: (B, 1, I, J, K) in [0, 1], trust in each voxel's residual; None is 1 everywhere.
    """
    products = feature_products(fixed, moving, displacement, forces)
    p00, p01, p02, r0, p11, p12, r1, p22, r2, rr = products.unbind(1)
    matrix, rhs = [p00, p01, p02, p11, p12, p22], torch.stack([r0, r1, r2], dim=1)
    if weight is not None:
        matrix, rhs = [p * weight[:, 0] for p in matrix], rhs * weight
    damping = alpha**2 + rr / (4 * max_step**2)
    for diagonal in (0, 3, 5):
        matrix[diagonal] = matrix[diagonal] + damping
    return TaylorSystem(torch.stack(matrix, dim=1), rhs)


def solve_symmetric_3x3(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solution (B, 3, I, J, K) of the matrix and right-hand side of a ``TaylorSystem``, by the adjugate."""
    a, b, c, d, e, f = matrix.unbind(1)
    x, y, z = rhs.unbind(1)
    ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    cd, ce, cf = a * f - c * c, b * c - a * e, a * d - b * b
    inverse_determinant = 1 / (a * ca + b * cb + c * cc)
    solution = torch.stack([ca * x + cb * y + cc * z, cb * x + cd * y + ce * z, cc * x + ce * y + cf * z], dim=1)
    return solution * inverse_determinant.unsqueeze(1)


def taylor_step(
    fixed: Tensor, warped: Tensor, *, alpha: float, max_step: float, forces: Forces = "symmetric"
) -> Tensor:
    """The step of ``taylor_system``, solved voxel by voxel: (B, 3, I, J, K) in voxels, no longer than ``max_step``."""
    return solve_symmetric_3x3(*taylor_system(fixed, warped, alpha=alpha, max_step=max_step, forces=forces))
