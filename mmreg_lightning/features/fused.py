"""Learned features beside MIND-SSC, as one extractor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.features.pretrained import load_model


class FusedFeatures(nn.Module):
    """Channels of trained features, then the 12 of MIND-SSC, on the feature grid of the trained ones.

    A weight counts the squared differences of its channels, which are multiplied by the weight's square root. Both
    kinds lie in [0, 1], so that one noise floor alpha of the Taylor step fits both; with another weight, alpha keeps
    its meaning for channels of weight 1. A weight of 0 leaves the channels out.

    Args:
        learned: shipped weights by name (``pretrained`` is the newest), a .safetensors file, or a checkpoint.
        learned_weight: of the trained channels.
        mind_weight: of the MIND-SSC channels.
        radius, dilation: of MIND-SSC, see ``MindFeatures``.

    Attributes:
        model: the trained features with the settings of their training.
        unclipped: intensities beyond the window are needed: MIND-SSC looks at them, trained networks clip themselves.

    Raises:
        UserError: the trained features cannot be read, a weight is below 0 or both are 0, or see ``MindFeatures``.
    """

    def __init__(
        self,
        learned: str,
        learned_weight: float = 1.0,
        mind_weight: float = 1.0,
        radius: int = 1,
        dilation: int = 2,
    ) -> None:
        super().__init__()
        self.learned_weight = _weight("features.learned_weight", learned_weight)
        self.mind_weight = _weight("features.mind_weight", mind_weight)
        if not (self.learned_weight or self.mind_weight):
            raise UserError("features.learned_weight=0, features.mind_weight=0: one of them must be above 0")
        self.model = load_model(learned, "learned")
        self.learned = self.model.features
        self.stride = self.learned.stride
        self.mind = MindFeatures(radius, dilation, self.stride)
        self.channels = self.learned.channels * (self.learned_weight > 0) + self.mind.channels * (self.mind_weight > 0)
        self.unclipped = self.mind_weight > 0

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (B, C, I / stride, J / stride, K / stride), each in [0, sqrt(weight)]."""
        parts = []
        for weight, features in ((self.learned_weight, self.learned), (self.mind_weight, self.mind)):
            if weight > 0:
                part = features(image, modality)
                parts.append(part if weight == 1 else math.sqrt(weight) * part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _weight(name: str, value: object) -> float:
    weight = non_negative(name, value)
    if not math.isfinite(weight):
        raise UserError(f"{name}={value}: must be a finite number, 0 or more")
    return weight
