"""The energy that instance optimisation minimises: feature difference plus diffusion."""

from __future__ import annotations

import torch
from torch import Tensor


def feature_ssd(fixed: Tensor, warped: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared difference of the features, summed over the channels and averaged over the trusted voxels: a scalar.

    Args:
        fixed, warped: (B, C, I, J, K).
        weight: (B, 1, I, J, K) in [0, 1]; None is 1 everywhere.
    """
    difference = (fixed - warped).square().sum(1, keepdim=True)
    if weight is None:
        return difference.mean()
    return (difference * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def diffusion_energy(displacement: Tensor) -> Tensor:
    """Squared forward differences of all components, summed over components and axes, averaged over voxels: a scalar.

    Args:
        displacement: (B, 3, I, J, K) in voxels.
    """
    return sum((displacement.diff(dim=axis).square().sum(1).mean() for axis in (2, 3, 4)), displacement.new_zeros(()))
