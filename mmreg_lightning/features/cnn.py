"""A plain convolutional feature network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmreg_lightning.features.blocks import ConvBlock, Norm
from mmreg_lightning.features.learned import Bound, LearnedFeatures


class CNNFeatures(LearnedFeatures):
    """A stack of dilated convolutions on the feature grid.

    Args:
        depth: number of 3x3x3 convolutions after the stem, with dilations 1, 2, 4, 1, 2, 4, ...
        (others): see ``LearnedFeatures``.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        channels: int = 16,
        stride: int = 2,
        width: int = 32,
        depth: int = 6,
        stem: str = "modality_specific",
        norm: Norm = "instance",
        bound: Bound = "softmax",
        smoothing: float = 0.8,
        mirror: int | None = None,
        self_similarity: bool = False,
    ) -> None:
        super().__init__(modalities, channels, stride, width, stem, norm, bound, smoothing, mirror, self_similarity)
        self.layers = nn.Sequential(
            *(ConvBlock(width, width, norm, dilation=2 ** (i % 3)) for i in range(depth)), nn.Conv3d(width, channels, 1)
        )

    def body(self, x: Tensor) -> Tensor:
        """See ``LearnedFeatures``."""
        out: Tensor = self.layers(x)
        return out
