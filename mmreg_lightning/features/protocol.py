"""The protocol of feature extractors."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class FeatureExtractor(Protocol):
    """Maps an image to features that can be compared between modalities.

    Attributes:
        stride: image voxels to one feature voxel, along each axis.
        channels: C, number of feature channels.

    An extractor whose attribute ``sees`` is ``"labels"`` gets the label map (B, 1, I, J, K) in place of the image.
    """

    stride: int
    channels: int

    def __call__(self, image: Tensor, modality: str) -> Tensor:
        """Features of an image, (B, C, I / stride, J / stride, K / stride).

        Args:
            image: (B, 1, I, J, K), result of ``normalise_intensity``; sides are multiples of ``stride``.
            modality: name of the image's modality, such as "CT" or "MR".
        """
        ...
