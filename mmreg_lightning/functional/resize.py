"""Changing the resolution of features and displacement fields over one field of view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Trilinear interpolation onto another grid over the same field of view (outer voxel edges coincide).

    Args:
        x: (B, C, I, J, K).
        shape: the new (I, J, K).
    """
    if tuple(x.shape[2:]) == tuple(shape):
        return x
    return F.interpolate(x, size=tuple(shape), mode="trilinear", align_corners=False)


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement on another grid over the same field of view; its values are in voxels of the new grid.

    Args:
        displacement: (B, 3, I, J, K) in voxels of its own grid.
        shape: the new (I, J, K).

    Returns:
        (B, 3, *shape) in voxels of the new grid.
    """
    old = displacement.shape[2:]
    scale = torch.tensor([n / o for n, o in zip(shape, old, strict=True)])
    return resize(displacement, shape) * scale.to(displacement).view(1, 3, 1, 1, 1)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Lengthen each axis at its end to a multiple, by repeating the border.

    All levels of a pyramid whose factors divide ``multiple`` then have one field of view, so that displacements scale
    by the factors exactly.

    Args:
        x: (B, C, I, J, K).
        multiple: of each side, in voxels.
    """
    padding = [side for n in reversed(x.shape[2:]) for side in (0, -n % multiple)]
    return F.pad(x, padding, mode="replicate") if any(padding) else x


def pool(x: Tensor, factor: int) -> Tensor:
    """Average over blocks of ``factor`` voxels a side; the border is repeated where a side is no multiple.

    Args:
        x: (B, C, I, J, K).
        factor: block size; 1 returns ``x``.

    Returns:
        (B, C, ceil(I / factor), ceil(J / factor), ceil(K / factor)).
    """
    if factor == 1:
        return x
    return F.avg_pool3d(pad_to_multiple(x, factor), factor)


def pyramid(maps: Sequence[Tensor], factors: Sequence[int]) -> Iterator[list[Tensor]]:
    """The maps at each level of a pyramid, all levels over one field of view.

    Args:
        maps: each (B, any number of channels, I, J, K).
        factors: block sizes of ``pool``, in the order in which the levels are wanted.
    """
    multiple = math.lcm(*factors)
    padded = [pad_to_multiple(x, multiple) for x in maps]
    for factor in factors:
        yield [pool(x, factor) for x in padded]


def carried_displacement(displacement: Tensor | None, onto: Tensor) -> Tensor:
    """What one pyramid level starts from: the displacement of the level before it, or none.

    Args:
        displacement: (B, 3, i, j, k) in voxels of its own grid; None on the first level.
        onto: (B, C, I, J, K) features of the new level.

    Returns:
        (B, 3, I, J, K) in voxels of the new grid.
    """
    shape = onto.shape[2:]
    return onto.new_zeros(len(onto), 3, *shape) if displacement is None else resize_displacement(displacement, shape)


def pool_weight(inside: Tensor, factor: int) -> Tensor | None:
    """A solver's weight on a coarser grid, from where the images are seen; None where it would be 1 everywhere.

    Args:
        inside: (B, 1, I, J, K), 1 where both images are seen and 0 elsewhere.
        factor: see ``pool``.
    """
    weight = pool(inside, factor)
    return weight if bool((weight < 1).any()) else None
