"""One step of a first-order Taylor (Demons / Gauss-Newton) descent on multi-channel features."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.functional.gradient import partial_derivative

Forces = Literal["symmetric", "fixed", "moving"]
FORCES: tuple[Forces, ...] = ("symmetric", "fixed", "moving")


class TaylorSystem(NamedTuple):
    """The normal equations of one step: a symmetric 3x3 system in every voxel.

    Attributes:
        matrix: (B, 6, I, J, K), ``J'J`` plus damping, order 00, 01, 02, 11, 12, 22.
        rhs: (B, 3, I, J, K), ``J'r``.
    """

    matrix: Tensor
    rhs: Tensor


def feature_gradient(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three derivatives of (B, C, I, J, K) features; computed once where the fixed features do not change."""
    return (
        partial_derivative(features, 0),
        partial_derivative(features, 1),
        partial_derivative(features, 2),
    )


def taylor_system(
    fixed: Tensor,
    warped: Tensor,
    *,
    alpha: float,
    max_step: float,
    forces: Forces = "symmetric",
    fixed_gradient: tuple[Tensor, Tensor, Tensor] | None = None,
    weight: Tensor | None = None,
) -> TaylorSystem:
    """Normal equations of the step ``d`` that minimises ``|J d - r|^2 + (alpha^2 + |r|^2 / (4 K^2)) |d|^2``.

    ``r = f - m_u`` is the residual, ``J`` the feature gradient: the mean of both images' gradients for symmetric
    forces, or that of one of them. The second damping term is Thirion's (Med. Image Anal. 1998) for many channels;
    it bounds the step by K: |d| is at most the maximum over s of ``s |r| / (s^2 + |r|^2 / (4 K^2))``, which is K.

    Args:
        fixed: (B, C, I, J, K) features of the fixed image.
        warped: (B, C, I, J, K) features of the moving image at ``x + u(x)``.
        alpha: noise floor of the features, in units of feature values.
        max_step: K, the bound of the step in voxels.
        forces: whose gradient is used.
        fixed_gradient: ``feature_gradient(fixed)`` where it is known already.
        weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel's residual (a mask); None is 1 everywhere.
    """
    residual = fixed - warped
    if forces == "moving":
        gradients = feature_gradient(warped)
    else:
        gradients = fixed_gradient if fixed_gradient is not None else feature_gradient(fixed)
        if forces == "symmetric":
            # The mean of two derivatives is the derivative of the mean, but the fixed one is often known already.
            gradients = (
                0.5 * (gradients[0] + partial_derivative(warped, 0)),
                0.5 * (gradients[1] + partial_derivative(warped, 1)),
                0.5 * (gradients[2] + partial_derivative(warped, 2)),
            )
    g0, g1, g2 = gradients
    damping = alpha**2 + residual.square().sum(1) / (4 * max_step**2)
    products = [(g0 * g0), (g0 * g1), (g0 * g2), (g1 * g1), (g1 * g2), (g2 * g2)]
    matrix = torch.stack([p.sum(1) for p in products], dim=1)
    rhs = torch.stack([(g * residual).sum(1) for g in gradients], dim=1)
    if weight is not None:
        matrix, rhs = matrix * weight, rhs * weight
    zero = torch.zeros_like(damping)
    matrix = matrix + torch.stack([damping, zero, zero, damping, zero, damping], dim=1)
    return TaylorSystem(matrix, rhs)


def solve_symmetric_3x3(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve a symmetric 3x3 system in every voxel by its adjugate.

    Args:
        matrix: (B, 6, I, J, K), order 00, 01, 02, 11, 12, 22, positive definite.
        rhs: (B, 3, I, J, K).

    Returns:
        (B, 3, I, J, K).
    """
    a, b, c, d, e, f = matrix.unbind(1)
    x, y, z = rhs.unbind(1)
    ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    cd, ce, cf = a * f - c * c, b * c - a * e, a * d - b * b
    inverse_determinant = 1 / (a * ca + b * cb + c * cc)
    solution = torch.stack([ca * x + cb * y + cc * z, cb * x + cd * y + ce * z, cc * x + ce * y + cf * z], dim=1)
    return solution * inverse_determinant.unsqueeze(1)


def taylor_step(
    fixed: Tensor,
    warped: Tensor,
    *,
    alpha: float,
    max_step: float,
    forces: Forces = "symmetric",
) -> Tensor:
    """The step of ``taylor_system``, solved voxel by voxel: (B, 3, I, J, K) in voxels, no longer than ``max_step``."""
    return solve_symmetric_3x3(*taylor_system(fixed, warped, alpha=alpha, max_step=max_step, forces=forces))
