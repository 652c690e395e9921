"""Discrete search of displacements: a correlation volume and its coupled convex regularisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weight of the coupling in each round, for costs between 0 and 1 a voxel (Siebert et al., 2024)."""


def search_offsets(radius: int | Sequence[int], device: torch.device | None = None) -> Tensor:
    """All displacements of at most ``radius`` voxels along each axis: (3, N), N = prod(2 radius + 1), order I, J, K.

    Args:
        radius: one for all axes, or one for each.
        device: of the result.
    """
    axes = [torch.arange(-r, r + 1, device=device, dtype=torch.float32) for r in _three(radius)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).view(3, -1)


def correlation_volume(
    fixed: Tensor, moving: Tensor, radius: int | Sequence[int], weight: Tensor | None = None
) -> Tensor:
    """Squared feature difference, smoothed over 5 voxels, of every voxel for all ``search_offsets``: (N, I, J, K).

    Args:
        fixed, moving: (1, C, I, J, K) features; the border of the moving features is repeated outside.
        radius: largest displacement along an axis, in voxels, one for all axes or one for each.
        weight: (1, 1, I, J, K) in [0, 1], trust in each fixed voxel; its costs are multiplied by it.
    """
    i, j, k = fixed.shape[2:]
    radii = _three(radius)
    padded = F.pad(moving, [r for r in reversed(radii) for _ in range(2)], mode="replicate")
    offsets = list(itertools.product(*(range(2 * r + 1) for r in radii)))
    cost = fixed.new_empty(len(offsets), i, j, k)
    for index, (a, b, c) in enumerate(offsets):
        shifted = padded[:, :, a : a + i, b : b + j, c : c + k]
        cost[index] = (fixed - shifted).square().sum(1)[0]
    if weight is not None:
        cost *= weight[0]
    return _box(_box(cost[None]))[0]


def coupled_convex(cost: Tensor, offsets: Tensor, coupling: Sequence[float] = COUPLING) -> Tensor:
    """A smooth displacement of low cost, (1, 3, I, J, K) in voxels, by alternating discrete search and smoothing.

    In every voxel, each round selects the displacement d of least ``cost + c |d - s|^2``, where s is the smooth field
    of the previous round and c grows (Steinbruecker et al., ICCV 2009; Siebert et al., IEEE Trans. Med. Imaging 2024).

    Args:
        cost: (N, I, J, K) of ``correlation_volume``.
        offsets: (3, N) of ``search_offsets``, in voxels.
        coupling: c of each round.
    """
    n, *shape = cost.shape
    flat = cost.view(n, -1)
    smooth = _smooth_choice(flat.argmin(0), offsets, shape)
    size = offsets.square().sum(0)[:, None]
    for c in coupling:
        s = smooth.view(3, -1)
        # |d - s|^2 without |s|^2, which is the same for every d.
        smooth = _smooth_choice(torch.addmm(flat + c * size, offsets.T, s, alpha=-2 * c).argmin(0), offsets, shape)
    return smooth


def _three(radius: int | Sequence[int]) -> Sequence[int]:
    return [radius] * 3 if isinstance(radius, int) else radius


def _smooth_choice(choice: Tensor, offsets: Tensor, shape: Sequence[int]) -> Tensor:
    return _box(offsets[:, choice].view(1, 3, *shape))


def _box(x: Tensor) -> Tensor:
    return F.avg_pool3d(F.pad(x, [1] * 6, mode="replicate"), 3, stride=1)
