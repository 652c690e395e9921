"""Base class of the learned feature networks: modality stems, a bounded head, smooth output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.blocks import Norm, Padding, Stem
from mmreg_lightning.functional.mind import mind_ssc
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.functional.smooth import gaussian_smooth

Bound = Literal["softmax", "sigmoid"]
_DESCRIPTORS = 12  # channels of MIND-SSC


class LearnedFeatures(nn.Module):
    """A stem for each modality, a body on the feature grid, and a head whose output is bounded to [0, 1].

    Bounded features give the noise floor alpha of the Taylor step a fixed meaning.

    Args:
        modalities: names of the modalities that the features accept; a shared stem takes any other one, too.
        channels: C, number of feature channels.
        stride: image voxels to one feature voxel, 1, 2 or 4.
        width: number of channels of the stem.
        stem: ``modality_specific`` or ``shared``.
        norm: ``instance``, ``group`` or ``none``.
        padding: of the convolutions. ``zeros`` tell the network where in the image a voxel lies; ``replicate``, the
            border repeated, hardly does, and takes a third longer.
        bound: ``softmax``, the soft assignment of every voxel to C latent tissue classes, or ``sigmoid``, C independent
            attributes.
        smoothing: standard deviation, in feature voxels, of the Gaussian that makes the output smooth enough for a
            first-order expansion.
        mirror: voxel axis along which the anatomy is symmetric, or None. In evaluation mode, features are then the mean
            of those of the image and the mirrored ones of its mirror image.
        self_similarity: the body also receives MIND-SSC descriptors (radius 1, dilation 1), which are similar in all
            modalities.

    Raises:
        UserError: an argument is not one of its choices.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        channels: int = 16,
        stride: int = 2,
        width: int = 32,
        stem: str = "modality_specific",
        norm: Norm = "instance",
        padding: Padding = "zeros",
        bound: Bound = "softmax",
        smoothing: float = 0.8,
        mirror: int | None = None,
        self_similarity: bool = False,
    ) -> None:
        super().__init__()
        if stride not in (1, 2, 4):
            raise UserError(f"features.stride={stride}: must be 1, 2 or 4")
        if padding not in ("zeros", "replicate"):
            raise UserError(f"features.padding={padding!r}: must be 'zeros' or 'replicate'")
        if bound not in ("softmax", "sigmoid"):
            raise UserError(f"features.bound={bound!r}: must be 'softmax' or 'sigmoid'")
        if mirror not in (None, 0, 1, 2):
            raise UserError(f"features.mirror={mirror}: must be a voxel axis, 0, 1 or 2, or null")
        self.modalities = list(modalities)
        self.channels = channels
        self.stride = stride
        self.bound = bound
        self.smoothing = smoothing
        self.mirror = mirror
        self.stem = Stem(self.modalities, stem, width, stride, norm, padding)
        self.descriptors = nn.Conv3d(_DESCRIPTORS, width, 1) if self_similarity else None

    @property
    def least_side(self) -> int:
        """Feature voxels that the body needs along each axis; thinner images are padded."""
        return 2

    def body(self, x: Tensor) -> Tensor:
        """(B, width, i, j, k), output of the stem, to logits (B, C, i, j, k)."""
        raise NotImplementedError

    def logits(self, image: Tensor, modality: str) -> Tensor:
        """Unbounded output, (B, C, I / stride, J / stride, K / stride).

        An axis that is too short for the network is padded by its border on both sides, and the output cropped.

        Raises:
            UserError: the modality is unknown, or a side of the image is not a multiple of ``stride``.
        """
        padded, inner = self._padded(image)
        return self.body(self._stem(padded, modality)).float()[inner]

    def pair_logits(self, fixed: Tensor, moving: Tensor, modalities: tuple[str, str]) -> tuple[Tensor, Tensor]:
        """``logits`` of two images of one size, in one pass of the body.

        On the CPU this takes less than half the time, because PyTorch has a slow kernel for a single image.
        """
        (fixed, inner), (moving, _) = self._padded(fixed), self._padded(moving)
        stems = [self._stem(image, name) for image, name in zip((fixed, moving), modalities, strict=True)]
        both = self.body(torch.cat(stems)).float()[inner]
        return both[: len(fixed)], both[len(fixed) :]

    def _padded(self, image: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
        """The image with as many voxels as the body needs, and where its own features lie in those of the whole."""
        padding: list[int] = []
        inner = [slice(None), slice(None)]
        for n in image.shape[2:]:
            missing = max(0, self.least_side - -(-n // self.stride))
            before = missing // 2
            padding = [self.stride * before, self.stride * (missing - before), *padding]
            inner.append(slice(before, before + -(-n // self.stride)))
        return F.pad(image, padding, mode="replicate") if any(padding) else image, tuple(inner)

    def _stem(self, image: Tensor, modality: str) -> Tensor:
        if self.stem.kind != "shared" and modality not in self.modalities:
            raise UserError(f"modality {modality!r}: these features know only {', '.join(self.modalities)}")
        if any(n % self.stride for n in image.shape[2:]):
            raise UserError(
                f"images of {tuple(image.shape[2:])} voxels: sides must be multiples of features.stride={self.stride} "
                "(data.patch_size)"
            )
        # 3-D convolutions are fastest in this layout, on CPU and GPU.
        layout = torch.channels_last_3d
        out: Tensor = self.stem(image.clamp(0, 1).contiguous(memory_format=layout), modality)
        if self.descriptors is not None:
            # Differences of patches are too small for the eight bits of bfloat16.
            with torch.autocast(image.device.type, enabled=False):
                seen = pool(mind_ssc(image.float(), radius=1, dilation=1), self.stride)
            centred = (4 * seen - 2).to(image.dtype)  # from about [0.2, 0.8]
            out = out + self.descriptors(centred.contiguous(memory_format=layout))
        return out

    def activate(self, logits: Tensor) -> Tensor:
        """Bounded, smooth features from logits."""
        # Differences of features are too small for the eight bits of bfloat16.
        with torch.autocast(logits.device.type, enabled=False):
            bounded = logits.softmax(dim=1) if self.bound == "softmax" else logits.sigmoid()
            return gaussian_smooth(bounded.contiguous(), self.smoothing)

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features, (B, C, I / stride, J / stride, K / stride), in [0, 1]."""
        features = self.activate(self.logits(image, modality))
        if self.mirror is None or self.training:
            return features
        axis = [2 + self.mirror]
        return 0.5 * (features + self.activate(self.logits(image.flip(axis), modality)).flip(axis))
