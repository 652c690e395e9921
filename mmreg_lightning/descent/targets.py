"""Targets of the supervised descent: smooth maps of the organ labels that take the place of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative
from mmreg_lightning.functional.labels import organ_indicators, signed_distance
from mmreg_lightning.functional.resize import pool


class DescentTargets(Protocol):
    """Turns a label map into target maps, one channel an organ, values in [0, 1]."""

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        """Target maps of a label map, (B, L, I / stride, J / stride, K / stride).

        Args:
            labels: (B, 1, I, J, K) integers.
            ids: label ids of the L organs.
            stride: image voxels to one voxel of the feature grid.
        """
        ...


class OneHotTargets(DescentTargets):
    """Indicators of the organs, averaged over feature voxels and smoothed.

    Args:
        sigma: standard deviation of the Gaussian, in voxels of the feature grid.

    Raises:
        UserError: ``sigma`` is negative.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma = non_negative("targets.sigma", sigma)

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        return organ_indicators(labels, ids, stride, self.sigma)


class SignedDistanceTargets(DescentTargets):
    """``tanh(distance / tau)`` to the organs' surfaces, rescaled to [0, 1]: a wider basin than an indicator.

    Args:
        tau: scale of the distance, in voxels of the feature grid.

    Raises:
        UserError: ``tau`` is negative.
    """

    def __init__(self, tau: float = 3.0) -> None:
        self.tau = non_negative("targets.tau", tau)

    def __call__(self, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
        return pool(signed_distance(labels, ids, self.tau * stride), stride)


def paired_targets(
    targets: DescentTargets, fixed_labels: Tensor, moving_labels: Tensor, ids: Sequence[int], stride: int
) -> tuple[Tensor, Tensor]:
    """Fixed and moving target maps, without gradient; the channel of an organ that only one label map shows is 0.

    Args:
        targets: kind of target maps.
        fixed_labels, moving_labels: (B, 1, I, J, K) integers.
        ids, stride: see ``DescentTargets``.
    """
    with torch.no_grad():
        shared = [(fixed_labels == i).flatten(1).any(1) & (moving_labels == i).flatten(1).any(1) for i in ids]
        mask = torch.stack(shared, dim=1).view(-1, len(ids), 1, 1, 1)
        return targets(fixed_labels, ids, stride) * mask, targets(moving_labels, ids, stride) * mask
