"""Building blocks of the feature networks."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mmreg_lightning.errors import UserError

Norm = Literal["instance", "group", "none"]
Padding = Literal["zeros", "replicate"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The normalisation named ``norm``.

    Raises:
        UserError: ``norm`` is unknown.
    """
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(max(1, channels // 8), channels)
    if norm == "none":
        return nn.Identity()
    raise UserError(f"features.norm={norm!r}: must be 'instance', 'group' or 'none'")


class ConvBlock(nn.Sequential):
    """3-D convolution, normalisation, leaky ReLU; the side length is divided by ``stride``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        stride: int = 1,
        dilation: int = 1,
        padding: Padding = "zeros",
    ) -> None:
        # An even kernel centres output voxel i at (i + 1/2) * stride - 1/2, as average pooling does.
        kernel, width = (3, dilation) if stride == 1 else (2 * stride, stride // 2)
        bias = norm == "none"
        super().__init__(
            nn.Conv3d(in_channels, out_channels, kernel, stride, width, dilation, bias=bias, padding_mode=padding),
            norm_layer(norm, out_channels),
            nn.LeakyReLU(0.1, inplace=True),
        )


class Stem(nn.Module):
    """The first layers: from the image and its own contrast to the feature grid.

    Args:
        modalities: names of the modalities.
        kind: ``modality_specific`` has one set of weights for each modality, ``shared`` one for all.
        width: number of output channels.
        stride: stride of the first convolution.
        norm: ``instance``, ``group`` or ``none``.
        padding: of the convolutions, ``zeros`` or ``replicate``.

    Raises:
        UserError: ``kind`` or ``norm`` is unknown.
    """

    def __init__(
        self, modalities: list[str], kind: str, width: int, stride: int, norm: Norm, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        if kind not in ("shared", "modality_specific"):
            raise UserError(f"features.stem={kind!r}: must be 'shared' or 'modality_specific'")
        self.kind = kind
        names = ["all"] if kind == "shared" else modalities
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    ConvBlock(1, width, norm, stride, padding=padding), ConvBlock(width, width, norm, padding=padding)
                )
                for name in names
            }
        )

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """(B, 1, I, J, K) to (B, width, I / stride, J / stride, K / stride)."""
        out: Tensor = self.branches["all" if self.kind == "shared" else modality](image)
        return out
