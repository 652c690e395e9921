"""Data of the interactive pages: volumes resampled to a size that travels, in 8 or 16 bits, compressed, as text.

The script of a page reads a scene, see ``pack_scene``. Its ``volumes`` are arrays by name, each a dictionary with

- ``shape``: (I, J, K) or (C, I, J, K), and ``spacing``: (3,) in mm. All volumes of a scene have one common centre.
- ``type``: uint8, uint16 or int16.
- ``data``: base64 of a zlib stream of differences, each value less the one before it in the type's own arithmetic,
  last axis fastest, little-endian.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
from isal import isal_zlib
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

# A page has to open at once and to travel by mail: with these limits, noise that does not compress makes 9 MB.
_LONGEST = 128  # voxels of an image along its longest side
_VOXELS = 1.2e6  # of an image
_LONGEST_COARSE = 64  # voxels of the deformation and of the features, which are smoother


def pack_scene(
    grid: Grid,
    focus: Sequence[float],
    images: Mapping[str, Tensor],
    labels: Mapping[str, Tensor | None],
    label_names: Mapping[int, str],
    masks: Mapping[str, Tensor | None] | None = None,
) -> dict[str, Any]:
    """Images, label maps and masks as one scene, resampled to an isotropic grid about the centre of ``grid``.

    That grid is as fine as the finest axis of ``grid`` unless this makes too many voxels. Positions in a scene are in
    mm from the common centre along the axes I, J, K.

    Args:
        grid: of the images, the label maps and the masks, in the world.
        focus: (3,) where the planes cross at first, mm from the centre along I, J, K.
        images: (I, J, K) in [0, 1] by the name of their volume, where 255 is 1.
        labels: (I, J, K) of any integers by the name of their volume; None is left out. The volumes hold indices of
            the scene's ``labels``, the names of the organs; 0 is the background, and what is ``IGNORED``.
        label_names: names of the label ids that have one; another id 7 is called "label 7".
        masks: (I, J, K) bool by the name of their volume, of 0 and 1; None is left out.

    Raises:
        ValueError: a volume is not on ``grid``.
    """
    extent = np.array(grid.shape) * grid.spacing
    step = max(grid.spacing.min(), extent.max() / _LONGEST, (extent.prod() / _VOXELS) ** (1 / 3))
    shown = grid.resampled(float(step))

    def resampled(volume: Tensor, mode: Literal["linear", "nearest"]) -> Tensor:
        return resample_volume(Volume(volume[None].detach().cpu(), grid), shown, mode).data[0]

    arrays = {name: to_bytes(resampled(image, "linear")) for name, image in images.items()}
    found = {
        name: resampled(ids.masked_fill(ids == IGNORED, 0), "nearest").numpy()
        for name, ids in labels.items()
        if ids is not None
    }
    ids = sorted({int(i) for volume in found.values() for i in np.unique(volume)} - {0})
    for name, volume in found.items():
        codes = np.where(volume == 0, 0, np.searchsorted(ids, volume) + 1)
        arrays[name] = codes.astype(np.min_scalar_type(len(ids)))
    for name, mask in (masks or {}).items():
        if mask is not None:
            arrays[name] = resampled(mask.float(), "nearest").numpy().astype(np.uint8)
    return {
        "shape": list(shown.shape),
        "spacing": float(shown.spacing[0]),
        "center": grid.center.tolist(),
        "direction": grid.direction.tolist(),
        "focus": list(focus),
        "labels": ["", *(label_names.get(i, f"label {i}") for i in ids)],
        "volumes": {name: pack(array, shown.spacing.tolist()) for name, array in arrays.items()},
    }


def pack_coarse(values: Tensor, spacing: Sequence[float]) -> dict[str, Any]:
    """An array (C, I, J, K) in [0, 1] of a spacing in mm, averaged onto its ``coarse_grid``, in 8 bits."""
    shape, coarse = coarse_grid(values, spacing)
    return pack(to_bytes(F.adaptive_avg_pool3d(values.float(), shape)), coarse)


def coarse_grid(array: Tensor, spacing: Sequence[float]) -> tuple[tuple[int, int, int], list[float]]:
    """Shape and spacing (mm) over the same field of view, with at most 64 voxels along the longest side.

    Args:
        array: (..., I, J, K).
        spacing: (3,) of the array, mm.
    """
    own = array.shape[-3:]
    step = max(n * s for n, s in zip(own, spacing, strict=True)) / _LONGEST_COARSE
    i, j, k = (max(1, min(n, round(n * s / step))) for n, s in zip(own, spacing, strict=True))
    return (i, j, k), [n * s / m for n, s, m in zip(own, spacing, (i, j, k), strict=True)]


def to_bytes(values: Tensor) -> NDArray[np.uint8]:
    """[0, 1] to 0 ... 255."""
    return (values.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)


def pack(array: NDArray, spacing: Sequence[float]) -> dict[str, Any]:
    """An array of a spacing in mm as the script of a page unpacks it."""
    # Neighbours are alike: their differences take a fifth less room than they do.
    differences = np.diff(array.reshape(-1), prepend=array.dtype.type(0))
    stream = isal_zlib.compress(differences.tobytes(), level=3)
    return {
        "shape": list(array.shape),
        "spacing": list(spacing),
        "type": array.dtype.name,
        "data": base64.b64encode(stream).decode("ascii"),
    }
