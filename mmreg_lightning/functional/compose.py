"""Composition and inversion of displacement fields."""

from __future__ import annotations

import torch
from torch import Tensor

from mmreg_lightning.functional.warp import warp


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The displacement that moves a point by ``first`` and then by ``second``.

    Warping an image by the result equals warping it by ``second`` and the outcome by ``first``.

    Args:
        first, second: (B, 3, I, J, K) in voxels of one common grid, as the result; beyond the grid, the border
            values of ``second`` are repeated.
    """
    return first + warp(second, first)


def invert(displacement: Tensor, iterations: int = 30) -> Tensor:
    """The inverse v of a displacement u by fixed-point iteration, (B, 3, I, J, K) in voxels.

    Each step averages v with ``-u(x + v)``, which damps oscillation where the field is steep. It converges where u
    is a contraction (Chen et al., Med. Phys. 2008), and approximates the inverse of any field without folds.

    Args:
        displacement: u, (B, 3, I, J, K) in voxels.
        iterations: number of fixed-point steps.
    """
    inverse = torch.zeros_like(displacement)
    for _ in range(iterations):
        inverse = 0.5 * inverse - 0.5 * warp(displacement, inverse)
    return inverse
