"""Spatial derivatives of feature maps and of displacement fields."""

from __future__ import annotations

import torch
from torch import Tensor

_SLAB = 2**16  # voxels


def partial_derivative(x: Tensor, axis: int) -> Tensor:
    """Derivative along one voxel axis, per voxel: central differences inside, one-sided at the two borders.

    Args:
        x: (B, C, I, J, K) with at least two voxels along the axis.
        axis: 0, 1 or 2 for I, J or K.
    """
    dim = 2 + axis
    n = x.shape[dim]
    first = x.narrow(dim, 1, 1) - x.narrow(dim, 0, 1)
    last = x.narrow(dim, n - 1, 1) - x.narrow(dim, n - 2, 1)
    inner = 0.5 * (x.narrow(dim, 2, n - 2) - x.narrow(dim, 0, n - 2))
    return torch.cat([first, inner, last], dim=dim)


def gradient(x: Tensor) -> Tensor:
    """All three derivatives of every channel: (B, C, I, J, K) to (B, C, 3, I, J, K), per voxel, order I, J, K."""
    return torch.stack([partial_derivative(x, axis) for axis in range(3)], dim=2)


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Determinant of the Jacobian of ``x + u(x)``, (B, 1, I, J, K): the volume ratio, 0 or negative where space folds.

    Args:
        displacement: u, (B, 3, I, J, K) in voxels.
    """
    n = displacement.shape[2]
    # In slabs with a neighbour on either side: the nine derivatives of a whole volume do not fit into the cache.
    rows = max(1, _SLAB // displacement[0, 0, 0].numel())
    slabs = []
    for first in range(0, n, rows):
        last = min(first + rows, n)
        # At least two rows; an inner row of the volume is never the border of a slab.
        low, high = max(min(first - 1, n - 2), 0), min(max(last + 1, 2), n)
        slabs.append(_determinant(displacement[:, :, low:high])[:, :, first - low : last - low])
    return torch.cat(slabs, dim=2)


def _determinant(displacement: Tensor) -> Tensor:
    a, d, p = partial_derivative(displacement, 0).unbind(1)
    b, e, q = partial_derivative(displacement, 1).unbind(1)
    c, f, r = partial_derivative(displacement, 2).unbind(1)
    a, e, r = a + 1, e + 1, r + 1
    return (a * (e * r - f * q) - b * (d * r - f * p) + c * (d * q - e * p)).unsqueeze(1)
