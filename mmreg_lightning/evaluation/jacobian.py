"""Regularity of a displacement field."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.functional.gradient import jacobian_determinant

_SMALLEST = 1e-9  # stands for J <= 0 in the logarithm


class JacobianStatistics(NamedTuple):
    """``folds_percent``: voxels with J <= 0, in percent; ``sdlogj``: standard deviation of log J."""

    folds_percent: float
    sdlogj: float


def jacobian_statistics(displacement: Tensor, mask: Tensor | None = None) -> JacobianStatistics:
    """Statistics of the Jacobian determinant J of x + u(x) by central differences, one-sided at the borders.

    ``sdlogj`` is the population standard deviation of log(max(J, 1e-9)), so that folds make it large. J is
    the same in voxels and in millimetres.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K), voxels of its grid, at least two voxels along each
            axis. Where any of it is not finite, both statistics are NaN, wherever the mask is.
        mask: (I, J, K) or with leading axes of one; only voxels where it is not zero count.

    Raises:
        ValueError: the mask is empty.
    """
    field = displacement[None] if displacement.ndim == 4 else displacement
    values = jacobian_determinant(field).flatten()
    finite = bool(torch.isfinite(values).all())
    if mask is not None:
        values = values[mask.flatten() != 0]
        if values.numel() == 0:
            raise ValueError("the mask for the Jacobian is empty")
    if not finite:
        return JacobianStatistics(math.nan, math.nan)
    folds = int((values <= 0).sum()) / values.numel() * 100
    return JacobianStatistics(folds, float(values.clamp(min=_SMALLEST).log().double().std(correction=0)))
