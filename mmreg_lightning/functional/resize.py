"""Changing the resolution of features and displacement fields over one field of view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Trilinear interpolation of (B, C, I, J, K) onto a grid of size ``shape`` with the same outer voxel edges."""
    if tuple(x.shape[2:]) == tuple(shape):
        return x
    return F.interpolate(x, size=tuple(shape), mode="trilinear", align_corners=False)


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement on another grid over the same field of view, (B, 3, *shape) in voxels of the new grid.

    Args:
        displacement: (B, 3, I, J, K) in voxels of its own grid.
        shape: size of the new grid.
    """
    old = displacement.shape[2:]
    scale = torch.tensor([n / o for n, o in zip(shape, old, strict=True)])
    return resize(displacement, shape) * scale.to(displacement).view(1, 3, 1, 1, 1)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the border of (B, C, I, J, K) at the end of each axis until its size is a multiple.

    All levels of a pyramid whose factors divide ``multiple`` then have one field of view, so displacements scale
    exactly by the factors.
    """
    padding = [side for n in reversed(x.shape[2:]) for side in (0, -n % multiple)]
    return F.pad(x, padding, mode="replicate") if any(padding) else x


def pool(x: Tensor, factor: int) -> Tensor:
    """Average (B, C, I, J, K) over blocks of ``factor`` voxels a side, sizes rounded up; the border is repeated."""
    if factor == 1:
        return x
    return F.avg_pool3d(pad_to_multiple(x, factor), factor)


def pyramid(maps: Sequence[Tensor], factors: Sequence[int]) -> Iterator[list[Tensor]]:
    """The maps at each level of a pyramid, all levels over one field of view.

    Args:
        maps: each (B, C, I, J, K) with its own C.
        factors: block size of ``pool`` for each level.
    """
    multiple = math.lcm(*factors)
    padded = [pad_to_multiple(x, multiple) for x in maps]
    for factor in factors:
        yield [pool(x, factor) for x in padded]


def carried_displacement(displacement: Tensor | None, onto: Tensor) -> Tensor:
    """Start displacement of a pyramid level, (B, 3, I, J, K) in voxels of its grid.

    Args:
        displacement: (B, 3, i, j, k), final displacement of the previous level in voxels of that level; None is 0.
        onto: (B, C, I, J, K) features of the new level.
    """
    shape = onto.shape[2:]
    return onto.new_zeros(len(onto), 3, *shape) if displacement is None else resize_displacement(displacement, shape)


def pool_weight(inside: Tensor, factor: int) -> Tensor | None:
    """A solver's weight: ``inside`` (B, 1, I, J, K) in [0, 1] pooled by ``factor``; None if it is 1 everywhere."""
    weight = pool(inside, factor)
    return weight if bool((weight < 1).any()) else None
