"""Composition and inversion of displacement fields."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreg_lightning.functional.warp import warp


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The displacement that moves a point by ``first`` and then by ``second``.

    ``x + u(x) = y + second(y)`` with ``y = x + first(x)``; a moving image warped by the result equals the moving
    image warped by ``second`` and the outcome by ``first``.

    Args:
        first, second: (B, 3, I, J, K) in voxels of one common grid; ``second`` is continued beyond the grid by its
            border values.

    Returns:
        (B, 3, I, J, K) in voxels.
    """
    return first + warp(second, first)


def invert(displacement: Tensor, iterations: int = 30) -> Tensor:
    """The inverse of a displacement by fixed-point iteration ``v <- -u(x + v)`` (Chen et al., Med. Phys. 2008).

    It converges where ``u`` is a contraction (all of its derivatives small against 1) and is a good
    approximation for any field without folds.

    Args:
        displacement: (B, 3, I, J, K) in voxels.
        iterations: number of fixed-point steps; each is averaged with the last one, which damps oscillation
            where the field is steep.

    Returns:
        (B, 3, I, J, K) in voxels, such that ``compose(displacement, inverse)`` is close to zero.
    """
    inverse = torch.zeros_like(displacement)
    for _ in range(iterations):
        inverse = 0.5 * inverse - 0.5 * warp(displacement, inverse)
    return inverse
