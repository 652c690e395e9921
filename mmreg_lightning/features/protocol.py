"""What every feature family offers: any of them composes with any solver."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class FeatureExtractor(Protocol):
    """Maps an image to features that can be compared between modalities.

    Attributes:
        stride: voxels of the image to one voxel of the features, along each axis.
        channels: number of feature channels C.

    An extractor whose attribute ``sees`` is ``"labels"`` is given the label map (B, 1, I, J, K) in the image's place.
    """

    stride: int
    channels: int

    def __call__(self, image: Tensor, modality: str) -> Tensor:
        """Features of an image.

        Args:
            image: (B, 1, I, J, K), intensities normalised so that [0, 1] is the window of the modality, see
                ``normalise_intensity``; sides are multiples of ``stride``.
            modality: name of the image's modality, as "CT" or "MR".

        Returns:
            (B, C, I / stride, J / stride, K / stride).
        """
        ...
