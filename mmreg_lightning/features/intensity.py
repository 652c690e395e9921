"""Normalised intensity as features: the baseline that assumes equal contrast in both images."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreg_lightning.errors import positive_int
from mmreg_lightning.functional.resize import pool


class IntensityFeatures(torch.nn.Module):
    """The intensity clipped to [0, 1], averaged over blocks of ``stride`` image voxels a side.

    Raises:
        UserError: the stride is no whole number of 1 or more.
    """

    channels = 1

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.stride = positive_int("features.stride", stride)

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (B, 1, I / stride, J / stride, K / stride)."""
        return pool(image.clamp(0, 1), self.stride)
