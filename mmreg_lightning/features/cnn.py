"""A plain convolutional feature network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmreg_lightning.features.blocks import ConvBlock, Norm, Padding
from mmreg_lightning.features.learned import LearnedFeatures


class CNNFeatures(LearnedFeatures):
    """A stack of dilated convolutions on the feature grid.

    Args:
        depth: number of 3x3x3 convolutions after the stem, with dilations 1, 2, 4, 1, 2, 4, ...
        modalities, width, norm, padding, shared: see ``LearnedFeatures``.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        depth: int = 6,
        width: int = 32,
        norm: Norm = "instance",
        padding: Padding = "zeros",
        **shared: Any,
    ) -> None:
        super().__init__(modalities, width=width, norm=norm, padding=padding, **shared)
        self.layers = nn.Sequential(
            *(ConvBlock(width, width, norm, dilation=2 ** (i % 3), padding=padding) for i in range(depth)),
            nn.Conv3d(width, self.channels, 1),
        )

    def body(self, x: Tensor) -> Tensor:
        """See ``LearnedFeatures``."""
        out: Tensor = self.layers(x)
        return out
