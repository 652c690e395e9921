"""Products of feature gradients and residuals, summed over channels: the input of a Taylor step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from mmreg_lightning.functional.warp import warp

Forces = Literal["symmetric", "fixed", "moving"]

# Weights of the fixed and of the warped moving features in the sum whose gradient is J.
_SHARES: dict[Forces, tuple[float, float]] = {"symmetric": (0.5, 0.5), "fixed": (1.0, 0.0), "moving": (0.0, 1.0)}
# Products of (J_0, J_1, J_2, r): row a starts at entry _ROWS[a] and holds the products of a with a, a + 1, ... 3.
_ROWS = (0, 4, 7, 9)
_CHUNK = 2**17  # voxels of all channels that are processed at a time; four such arrays are 2 MB


def feature_products(fixed: Tensor, moving: Tensor, displacement: Tensor | None, forces: Forces) -> Tensor:
    """Products of the gradient ``J`` and the residual ``r = f - m_u`` of a linearisation, summed over channels.

    A few channels are processed at a time: temporaries stay in the cache, which takes a tenth of the time of sums over
    whole tensors. The explicit backward pass warps the moving features again, so a step stores no warped features.

    Args:
        fixed, moving: (B, C, I, J, K) features, at least two voxels along each axis.
        displacement: u, (B, 3, I, J, K) in voxels; None is zero displacement.
        forces: J is the gradient of the fixed features, of the warped moving ones, or the mean of both (``symmetric``).

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
    """Batch index and slice of channels of each part of (B, C, I, J, K) that fits into the cache."""
    channels = max(1, _CHUNK // features[0, 0].numel())
    for image in range(len(features)):
        for start in range(0, features.shape[1], channels):
            yield image, slice(start, start + channels)


def _entry(a: int, b: int) -> int:
    """Index of the product of factors a and b."""
    first, second = sorted((a, b))
    return _ROWS[first] + second - first


def _factors(f: Tensor, m: Tensor, forces: Forces) -> Tensor:
    """J_0, J_1, J_2 and r of n channels: (4, n, I, J, K) from f and m, (n, I, J, K)."""
    share_fixed, share_moving = _SHARES[forces]
    out = f.new_empty(4, *f.shape)
    source = out[3]
    torch.mul(f, share_fixed, out=source)
    source.add_(m, alpha=share_moving)
    _differences(source, out[:3])
    torch.sub(f, m, out=source)
    return out


def _differences(x: Tensor, out: Tensor) -> None:
    """``partial_derivative`` of contiguous ``x`` (n, I, J, K) along each axis, into contiguous ``out`` (3, n, I, J, K).

    Each axis is one pass over the flat array, in which neighbours are a fixed number of voxels apart. The pass leaves
    wrong values at the borders, which are then overwritten.
    """
    row = x.view(-1)
    for axis, d in enumerate(out.unbind(), start=1):
        n, stride = x.shape[axis], x.stride(axis)
        torch.sub(row[2 * stride :], row[: -2 * stride], out=d.view(-1)[stride:-stride]).mul_(0.5)
        torch.sub(x.select(axis, 1), x.select(axis, 0), out=d.select(axis, 0))
        torch.sub(x.select(axis, n - 1), x.select(axis, n - 2), out=d.select(axis, n - 1))


def _differences_transposed(grad: Tensor) -> Tensor:
    """The transpose of ``_differences``: (n, I, J, K) from (3, n, I, J, K), whose borders are overwritten."""
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
