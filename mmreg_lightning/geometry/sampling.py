"""Interpolation of an array at the points of an affine grid, or at any points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_POINTS_AT_ONCE = 2**19  # 6 MB of coordinates instead of several times the image


def sample_affine(
    data: Tensor,
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    mode: Literal["linear", "nearest"] = "linear",
    fill: float | None = None,
    reach: Sequence[float] = (0.0, 0.0, 0.0),
) -> Tensor:
    """Sample ``data`` at every voxel of a grid: (C, *shape), dtype and device of ``data``.

    Args:
        data: (C, I, J, K), floating point.
        matrix: 4x4, voxel of the new grid to torch cube of ``data`` (``Frame.TORCH_CUBE``).
        shape: size of the new grid.
        mode: trilinear, or the nearest voxel.
        fill: value outside the field of view of ``data``; None repeats the border. Between the outermost voxel centres
            and the edge of the field of view the border is always repeated, as in ITK.
        reach: so many voxels of ``data`` beyond its field of view, along I, J and K, the border is repeated before
            ``fill`` begins.
    """
    m = torch.tensor(matrix, dtype=data.dtype, device=data.device)
    i, j, k = (torch.arange(n, dtype=data.dtype, device=data.device) for n in shape)
    plane = j[:, None, None] * m[:3, 1] + (k[:, None] * m[:3, 2] + m[:3, 3])
    limits = [1 + 2 * voxels / n for voxels, n in zip(reversed(reach), reversed(data.shape[1:]), strict=True)]
    out = data.new_empty((data.shape[0], *shape))
    for slab in slabs(shape):
        points = i[slab, None, None, None] * m[:3, 0] + plane
        out[:, slab] = sample_at(data, points, mode, fill, limits)
    return out


def slabs(shape: tuple[int, int, int], points: int = _POINTS_AT_ONCE) -> Iterator[slice]:
    """Ranges of the first axis with at most ``points`` points each, or one row."""
    rows = max(1, points // (shape[1] * shape[2]))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def sample_at(
    data: Tensor,
    points: Tensor,
    mode: Literal["linear", "nearest"] = "linear",
    fill: float | None = None,
    limits: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Sample ``data`` as ``sample_affine`` does at ``points`` (I, J, K, 3) in its torch cube: (C, I, J, K).

    Outside, for ``fill``, is what lies beyond ``limits`` of the cube along K, J and I.
    """
    kind = "nearest" if mode == "nearest" else "bilinear"
    out = F.grid_sample(data[None], points[None], mode=kind, padding_mode="border", align_corners=False)[0]
    if fill is not None:
        # The margin keeps points on the edge inside despite rounding.
        edges = torch.tensor([limit + 1e-5 for limit in limits], dtype=points.dtype, device=points.device)
        out.masked_fill_((points.abs() > edges).any(dim=-1), fill)
    return out
