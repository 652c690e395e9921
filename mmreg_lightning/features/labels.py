"""Organ labels as features: the upper bound of what a solver can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmreg_lightning.functional.labels import organ_indicators


class LabelFeatures(torch.nn.Module):
    """Smoothed indicators of the true organ labels of one pair; the images are ignored.

    Args:
        labels: label map (1, 1, I, J, K) on the working grid, by modality.
        ids: label ids of the organs.
        stride: image voxels to one feature voxel.
        sigma: standard deviation of the Gaussian, in feature voxels.
    """

    def __init__(self, labels: Mapping[str, Tensor], ids: Sequence[int], stride: int = 2, sigma: float = 0.8) -> None:
        super().__init__()
        self.labels, self.ids = dict(labels), list(ids)
        self.channels = len(self.ids)
        self.stride, self.sigma = stride, sigma

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (1, len(ids), I / stride, J / stride, K / stride)."""
        return organ_indicators(self.labels[modality], self.ids, self.stride, self.sigma)
