"""Changing the resolution of features and displacement fields over one field of view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SIDE = 4
"""Voxels: on a shorter axis of a pyramid level a central difference sees mostly borders."""
Factor = int | Sequence[int]
"""Voxels a side of the blocks that one voxel stands for: one number, or one for each of I, J, K."""


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


def per_axis(factor: Factor) -> tuple[int, int, int]:
    """A factor as one number for each of I, J, K."""
    i, j, k = (factor, factor, factor) if isinstance(factor, int) else factor
    return i, j, k


def axis_factors(shape: Sequence[int], factor: int) -> tuple[int, int, int]:
    """How far each axis of (I, J, K) voxels is pooled where long axes are pooled by ``factor``.

    The largest divisor of ``factor`` that leaves at least ``MIN_SIDE`` whole voxels; 1 where none does.
    """
    divisors = [d for d in range(factor, 0, -1) if factor % d == 0]
    i, j, k = (next((d for d in divisors if n // d >= MIN_SIDE), 1) for n in shape)
    return i, j, k


def level_factors(shape: Sequence[int], levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """The factors of each axis at each level of a pyramid of (I, J, K) voxels: a short axis stops being halved.

    Args:
        shape: (I, J, K) of the full resolution.
        levels: pooling factors of the axes that are long enough, see ``axis_factors``.
    """
    return [axis_factors(shape, factor) for factor in levels]


def pad_to_multiple(x: Tensor, multiple: Factor) -> Tensor:
    """Repeat the border of (B, C, I, J, K) at the end of each axis until its size is a multiple.

    All levels of a pyramid whose factors divide ``multiple`` then have one field of view, so displacements scale
    exactly by the factors.
    """
    sides = zip(reversed(x.shape[2:]), reversed(per_axis(multiple)), strict=True)
    padding = [side for n, m in sides for side in (0, -n % m)]
    return F.pad(x, padding, mode="replicate") if any(padding) else x


def pool(x: Tensor, factor: Factor) -> Tensor:
    """Average (B, C, I, J, K) over blocks of ``factor`` voxels a side, sizes rounded up; the border is repeated."""
    factors = per_axis(factor)
    if factors == (1, 1, 1):
        return x
    return F.avg_pool3d(pad_to_multiple(x, factors), factors)


def pyramid(maps: Sequence[Tensor], levels: Sequence[int]) -> Iterator[list[Tensor]]:
    """The maps at each level of a pyramid, all levels over one field of view; short axes as ``level_factors`` says.

    Args:
        maps: each (B, C, I, J, K) with its own C.
        levels: block size of ``pool`` for each level.
    """
    factors = level_factors(maps[0].shape[2:], levels)
    multiple = [math.lcm(*own) for own in zip(*factors, strict=True)]
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
