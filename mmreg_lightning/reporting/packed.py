"""Arrays for pages: coarse enough to travel, in bytes, as text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

# A page has to open at once and to travel by mail: with these, noise that no compression shortens makes 9 MB.
_LONGEST = 128  # voxels of an image
_VOXELS = 1.2e6  # of an image
_LONGEST_FIELD = 64  # voxels of the deformation and of the features, which are smoother


def shown_grid(grid: Grid) -> Grid:
    """Isotropic, about the same centre, as fine as the finest axis of ``grid`` unless that makes too many voxels."""
    extent = np.array(grid.shape) * grid.spacing
    spacing = max(grid.spacing.min(), extent.max() / _LONGEST, (extent.prod() / _VOXELS) ** (1 / 3))
    return grid.resampled(float(spacing))


def pack_image(image: Tensor, grid: Grid, shown: Grid) -> dict[str, Any]:
    """An image (I, J, K) in [0, 1] on ``grid``, on the grid that is shown, in 8 bits."""
    resampled = resample_volume(Volume(image[None].detach().cpu(), grid), shown).data[0]
    return pack(to_bytes(resampled), shown.spacing.tolist())


def coarser(array: Tensor, spacing: Sequence[float]) -> tuple[tuple[int, int, int], list[float]]:
    """Shape and spacing (mm) over the same field of view, with at most ``_LONGEST_FIELD`` voxels along the longest.

    Args:
        array: (..., I, J, K).
        spacing: (3,), its own.
    """
    own = array.shape[-3:]
    step = max(n * s for n, s in zip(own, spacing, strict=True)) / _LONGEST_FIELD
    i, j, k = (max(1, min(n, round(n * s / step))) for n, s in zip(own, spacing, strict=True))
    return (i, j, k), [n * s / m for n, s, m in zip(own, spacing, (i, j, k), strict=True)]


def to_bytes(values: Tensor) -> NDArray[np.uint8]:
    """[0, 1] to 0 ... 255."""
    return (values.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)


def pack(array: NDArray, spacing: Sequence[float]) -> dict[str, Any]:
    """An array as the pages' scripts unpack it, see ``page_data``; ``spacing`` is in mm."""
    # Neighbours are alike: their differences take a fifth less room than they do.
    differences = np.diff(array.reshape(-1), prepend=array.dtype.type(0))
    stream = isal_zlib.compress(differences.tobytes(), level=3)
    return {
        "shape": list(array.shape),
        "spacing": list(spacing),
        "type": array.dtype.name,
        "data": base64.b64encode(stream).decode("ascii"),
    }
