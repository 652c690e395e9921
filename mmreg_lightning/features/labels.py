"""Organ labels as features: the upper bound of what a solver can reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.functional.labels import organ_indicators


class LabelFeatures(torch.nn.Module):
    """Smoothed indicators of the true organ labels, one channel an organ.

    Args:
        ids: label ids of the organs.
        stride: working voxels to a feature voxel, along each axis.
        sigma: of the Gaussian, in feature voxels.

    Raises:
        UserError: ``ids`` is None: the configuration leaves them open, and nobody has filled them in; or
            the stride is no whole number of 1 or more.
    """

    sees = "labels"

    def __init__(self, ids: Sequence[int] | None, stride: int = 2, sigma: float = 0.8) -> None:
        super().__init__()
        if ids is None:
            raise UserError("features.labels.ids=null: must list the label ids of the organs")
        self.ids = list(ids)
        self.channels = len(self.ids)
        self.stride = positive_int("features.stride", stride)
        self.sigma = sigma

    def forward(self, labels: Tensor, modality: str) -> Tensor:
        """Features (B, len(ids), I / stride, J / stride, K / stride) of label maps (B, 1, I, J, K), integers."""
        return organ_indicators(labels, self.ids, self.stride, self.sigma)
