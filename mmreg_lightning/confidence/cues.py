"""Label-free error cues of a registration."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.functional.compose import compose
from mmreg_lightning.functional.gradient import gradient, jacobian_determinant
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.taylor import taylor_step
from mmreg_lightning.functional.warp import warp

CUES = ("residual", "contrast", "step", "volume_change", "inconsistency")
"""Channels of ``Cues.maps``."""
_RADIUS = 1.0  # standard deviation of the Gaussian neighbourhood, feature voxels
_ALPHA = 0.1  # noise floor of the remaining step, in units of feature values
_LEAST = 1e-3  # lower bound of the cues, for finite logarithms
_MOST_CHANGE = 4.0  # upper bound of |log J|, also for folds


class Cues(NamedTuple):
    """Cues on the feature grid of the fixed image.

    Attributes:
        maps: (1, 5, i, j, k), natural logarithms of ``CUES``: residual ``|f - m_u|`` and contrast ``|grad f|`` (feature
            values), length of the remaining Taylor step (feature voxels), ``|log J|`` of the deformation, and
            inverse-consistency error (feature voxels); each is the root mean square over a Gaussian neighbourhood.
        weight: (1, 1, i, j, k), the contrast.
    """

    maps: Tensor
    weight: Tensor


@torch.no_grad()
def registration_cues(fixed: Tensor, moving: Tensor, displacement: Tensor, backward: Tensor) -> Cues:
    """Cues of a displacement.

    Args:
        fixed, moving: (1, C, i, j, k) features on one grid, the moving ones not warped.
        displacement: (1, 3, i, j, k) in voxels, fixed to moving.
        backward: (1, 3, i, j, k) in voxels, moving to fixed: result of the reverse registration.
    """
    warped = warp(moving, displacement)
    contrast = _local(gradient(fixed).flatten(1, 2))
    step = taylor_step(fixed, warped, alpha=_ALPHA, max_step=1.0)
    change = jacobian_determinant(displacement).clamp(min=torch.finfo(torch.float32).tiny).log()
    change = change.clamp(-_MOST_CHANGE, _MOST_CHANGE)
    others = [_local(x) for x in (fixed - warped, step, change, compose(displacement, backward))]
    maps = [others[0], contrast, *others[1:]]
    return Cues(torch.cat(maps, dim=1).clamp(min=_LEAST).log(), contrast)


def _local(vectors: Tensor) -> Tensor:
    """Root mean square length over the neighbourhood, (B, 1, i, j, k), of (B, C, i, j, k)."""
    return gaussian_smooth(vectors.square().sum(dim=1, keepdim=True), _RADIUS).clamp(min=0).sqrt()
