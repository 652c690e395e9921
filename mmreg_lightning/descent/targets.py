"""Functions of the organ label maps that play the features' part in the supervised descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative
from mmreg_lightning.functional.labels import organ_indicators, signed_distance
from mmreg_lightning.functional.resize import pool


class LabelFeatures(Protocol):
    """psi of METHOD: organ label maps as feature maps, one channel an organ, values in [0, 1]."""

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        """(B, 1, I, J, K) integer labels to (B, len(ids), I / stride, J / stride, K / stride)."""
        ...


class OneHotTargets:
    """Indicator functions of the organs, averaged over feature voxels and smoothed.

    Args:
        sigma: standard deviation of the Gaussian in voxels of the feature grid.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma = non_negative("targets.sigma", sigma)

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        """See ``LabelFeatures``."""
        return organ_indicators(labels, ids, stride, self.sigma)


class SignedDistanceTargets:
    """``tanh(distance / tau)`` of the organs' surfaces, rescaled to [0, 1]: a wider basin than an indicator.

    Args:
        tau: scale of the distance in voxels of the feature grid.
    """

    def __init__(self, tau: float = 3.0) -> None:
        self.tau = non_negative("targets.tau", tau)

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        """See ``LabelFeatures``."""
        return pool(signed_distance(labels, ids, self.tau * stride), stride)


def paired_targets(
    psi: LabelFeatures, fixed_labels: Tensor, moving_labels: Tensor, ids: Sequence[int], stride: int
) -> tuple[Tensor, Tensor]:
    """psi of both label maps; an organ that only one of the two shows contributes nothing.

    Args:
        psi: the label function.
        fixed_labels, moving_labels: (B, 1, I, J, K) integers.
        ids: the organs' label ids.
        stride: of the feature grid.

    Returns:
        Two tensors (B, len(ids), I / stride, J / stride, K / stride), without gradient.
    """
    with torch.no_grad():
        shared = torch.stack(
            [((fixed_labels == i).flatten(1).any(1) & (moving_labels == i).flatten(1).any(1)) for i in ids],
            dim=1,
        ).view(-1, len(ids), 1, 1, 1)
        return psi(fixed_labels, ids, stride) * shared, psi(moving_labels, ids, stride) * shared
