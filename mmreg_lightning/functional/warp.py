"""Warping by displacement fields, and their conversion to PyTorch's sampling grid."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def identity_grid(
    shape: tuple[int, int, int], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Index of every voxel: (1, 3, I, J, K), channel order I, J, K."""
    axes = [torch.arange(n, device=device, dtype=dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def to_torch_grid(displacement: Tensor) -> Tensor:
    """The sampling grid of ``grid_sample`` (``align_corners=False``): (B, I, J, K, 3), channel order K, J, I.

    Its frame is the torch cube: -1 and 1 are the outer edges of the first and the last voxel.

    Args:
        displacement: (B, 3, I, J, K), channel order I, J, K, in voxels of its own grid.
    """
    channels = []
    for axis in (2, 1, 0):
        n = displacement.shape[2 + axis]
        index = torch.arange(n, device=displacement.device, dtype=displacement.dtype)
        shape = [1, 1, 1, 1]
        shape[1 + axis] = n
        centre = ((2 * index + 1) / n - 1).view(shape)
        channels.append(torch.add(centre, displacement[:, axis], alpha=2 / n))
    return torch.stack(channels, dim=-1)


def warp(
    image: Tensor,
    displacement: Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Warp an image: ``warped(x) = image(x + u(x))``, (B, C, I, J, K).

    Args:
        image: (B, C, I, J, K).
        displacement: u, (B, 3, I, J, K) in voxels, on the grid of the image.
        mode: trilinear interpolation, or the nearest voxel for label maps.
        padding: outside the image, its border is repeated or the value is 0.
    """
    return F.grid_sample(image, to_torch_grid(displacement), mode=mode, padding_mode=padding, align_corners=False)
