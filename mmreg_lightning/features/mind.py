"""MIND-SSC as features: the hand-crafted baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative_int, positive_int
from mmreg_lightning.functional.mind import mind_ssc
from mmreg_lightning.functional.resize import pool


class MindFeatures(torch.nn.Module):
    """Self-similarity context descriptors (Heinrich et al., MICCAI 2013) of any modality, in [0, 1].

    Args:
        radius, dilation: half width and distance of the compared patches, in image voxels, see ``mind_ssc``.
        stride: image voxels to one feature voxel; descriptors are averaged over blocks.

    Raises:
        UserError: an argument is no whole number or too small.
    """

    channels = 12

    def __init__(self, radius: int = 2, dilation: int = 2, stride: int = 2) -> None:
        super().__init__()
        self.radius = non_negative_int("features.radius", radius)
        self.dilation = positive_int("features.dilation", dilation)
        self.stride = positive_int("features.stride", stride)

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (B, 12, I / stride, J / stride, K / stride)."""
        return pool(mind_ssc(image, self.radius, self.dilation), self.stride)
