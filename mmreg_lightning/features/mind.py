"""MIND-SSC as a feature family: the hand-crafted baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreg_lightning.functional.mind import mind_ssc
from mmreg_lightning.functional.resize import pool


class MindFeatures(torch.nn.Module):
    """Self-similarity context descriptors (Heinrich et al., MICCAI 2013) of any modality, in [0, 1].

    Args:
        radius, dilation: of the patches compared, in image voxels.
        stride: the descriptors are averaged over blocks of this many image voxels a side.
    """

    channels = 12

    def __init__(self, radius: int = 2, dilation: int = 2, stride: int = 2) -> None:
        super().__init__()
        self.radius = radius
        self.dilation = dilation
        self.stride = stride

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (B, 12, I / stride, J / stride, K / stride); see ``FeatureExtractor``."""
        return pool(mind_ssc(image, self.radius, self.dilation), self.stride)
