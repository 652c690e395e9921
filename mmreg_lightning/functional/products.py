"""Sums over channels of products of feature gradients and residuals: all that a Taylor step needs of the features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from mmreg_lightning.functional.warp import warp

Forces = Literal["symmetric", "fixed", "moving"]

# Of the fixed and of the warped moving features in the sum whose gradient is J.
_SHARES: dict[Forces, tuple[float, float]] = {"symmetric": (0.5, 0.5), "fixed": (1.0, 0.0), "moving": (0.0, 1.0)}
# Products of (J_0, J_1, J_2, r): row a starts at entry _ROWS[a] and holds those with a, a + 1, ... 3.
_ROWS = (0, 4, 7, 9)
_CHUNK = 2**17  # voxels of all channels that are in work at a time; four arrays of them are 2 MB


def feature_products(fixed: Tensor, moving: Tensor, displacement: Tensor | None, forces: Forces) -> Tensor:
    """Products of the gradient ``J`` and the residual ``r = f - m_u`` of a linearisation, summed over channels.

    A few channels are in work at a time, so that temporaries stay in the cache and no C x 3 Jacobian is ever
    held: that is a tenth of the time of the same sums over whole tensors. The backward pass, which is written out,
    warps the moving features again. What a step keeps for it is thus a displacement, not features.

    Args:
        fixed, moving: (B, C, I, J, K), at least two voxels along each axis.
        displacement: (B, 3, I, J, K) in voxels, or None for ``m_u = m``.
        forces: whose gradient J is: the fixed image's, that of the warped moving one, or the mean of both.

    Returns:
        (B, 10, I, J, K), per voxel: 00, 01, 02, 0r, 11, 12, 1r, 22, 2r, rr.
    """
    products: Tensor = _FeatureProducts.apply(fixed, moving, displacement, forces)
    return products


class _FeatureProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, displacement: Tensor | None, forces: Forces) -> Tensor:
        ctx.save_for_backward(fixed, moving, displacement)
        ctx.forces = forces
        warped = moving if displacement is None else warp(moving, displacement)
        out = fixed.new_zeros(len(fixed), _ROWS[-1] + 1, *fixed.shape[2:])
        for image, chunk in _chunks(fixed):
            factors = _factors(fixed[image, chunk], warped[image, chunk], forces)
            rows = [out[image, start : start + 4 - a] for a, start in enumerate(_ROWS)]
            for channel in factors.unbind(1):
                for a, row in enumerate(rows):
                    row.addcmul_(channel[a:], channel[a])
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        fixed, moving, displacement = ctx.saved_tensors
        warped = moving
        leaves: list[Tensor] = []
        if displacement is not None:
            leaves = [moving.detach().requires_grad_(), displacement.detach().requires_grad_()]
            with torch.enable_grad():
                warped = warp(leaves[0], leaves[1])
        (grad,) = grad_outputs
        # d/dx of x' G x is (G + G') x: a symmetric matrix whose diagonal counts twice.
        order = [_entry(a, b) for a in range(4) for b in range(4)]
        matrix = grad[:, order].view(len(grad), 4, 4, *grad.shape[2:])
        for a in range(4):
            matrix[:, a, a] *= 2
        share_fixed, share_moving = _SHARES[ctx.forces]
        grad_fixed, grad_warped = torch.empty_like(fixed), torch.empty_like(fixed)
        for image, chunk in _chunks(fixed):
            factors = _factors(fixed[image, chunk], warped.detach()[image, chunk], ctx.forces)
            columns = matrix[image].unsqueeze(2).unbind(1)
            by_factor = columns[0] * factors[0]
            for column, factor in zip(columns[1:], factors[1:], strict=True):
                by_factor.addcmul_(column, factor)
            residual, source = by_factor[3], _differences_transposed(by_factor[:3])
            torch.add(residual, source, alpha=share_fixed, out=grad_fixed[image, chunk])
            torch.add(residual.neg_(), source, alpha=share_moving, out=grad_warped[image, chunk])
        if displacement is None:
            return grad_fixed, grad_warped, None, None
        needed = [leaf for leaf, asked in zip(leaves, ctx.needs_input_grad[1:3], strict=True) if asked]
        found = iter(torch.autograd.grad(warped, needed, grad_warped) if needed else ())
        grad_moving, grad_displacement = (next(found) if asked else None for asked in ctx.needs_input_grad[1:3])
        return grad_fixed, grad_moving, grad_displacement, None


def _chunks(features: Tensor) -> Iterator[tuple[int, slice]]:
    """Index of the image and slice of channels of each part of (B, C, I, J, K) that fits into the cache."""
    channels = max(1, _CHUNK // features[0, 0].numel())
    for image in range(len(features)):
        for start in range(0, features.shape[1], channels):
            yield image, slice(start, start + channels)


def _entry(a: int, b: int) -> int:
    """Where the product of factors a and b stands."""
    first, second = sorted((a, b))
    return _ROWS[first] + second - first


def _factors(f: Tensor, m: Tensor, forces: Forces) -> Tensor:
    """J_0, J_1, J_2 and r of some channels: (4, n, I, J, K) of f and m, (n, I, J, K)."""
    share_fixed, share_moving = _SHARES[forces]
    out = f.new_empty(4, *f.shape)
    source = out[3]
    torch.mul(f, share_fixed, out=source)
    source.add_(m, alpha=share_moving)
    _differences(source, out[:3])
    torch.sub(f, m, out=source)
    return out


def _differences(x: Tensor, out: Tensor) -> None:
    """``partial_derivative`` along each axis.

    The voxels of all channels lie in one row, in which a neighbour along an axis is a fixed number of voxels away: each
    axis is one pass over the row, with wrong values at the borders, which are then written anew.

    Args:
        x: (n, I, J, K), contiguous.
        out: (3, n, I, J, K), contiguous.
    """
    row = x.view(-1)
    for axis, d in enumerate(out.unbind(), start=1):
        n, stride = x.shape[axis], x.stride(axis)
        torch.sub(row[2 * stride :], row[: -2 * stride], out=d.view(-1)[stride:-stride]).mul_(0.5)
        torch.sub(x.select(axis, 1), x.select(axis, 0), out=d.select(axis, 0))
        torch.sub(x.select(axis, n - 1), x.select(axis, n - 2), out=d.select(axis, n - 1))


def _differences_transposed(grad: Tensor) -> Tensor:
    """The transposed of ``_differences``: (n, I, J, K) of (3, n, I, J, K), whose borders are overwritten."""
    total = torch.zeros_like(grad[0])
    part = torch.empty_like(total)
    for axis, g in enumerate(grad.unbind(), start=1):
        n, stride = g.shape[axis], g.stride(axis)
        first, last = g.select(axis, 0), g.select(axis, n - 1)
        first *= 2
        last *= 2
        row = g.view(-1)
        torch.sub(row[: -2 * stride], row[2 * stride :], out=part.view(-1)[stride:-stride])
        torch.add(first, g.select(axis, 1), out=part.select(axis, 0)).neg_()
        torch.add(last, g.select(axis, n - 2), out=part.select(axis, n - 1))
        total.add_(part, alpha=0.5)
    return total
