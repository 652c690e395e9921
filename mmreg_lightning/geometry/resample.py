"""Resampling of images and label maps to another grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.geometry.frames import Frame
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_affine
from mmreg_lightning.geometry.volume import Volume

_FWHM = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum of a Gaussian of standard deviation 1


def resample_volume(
    volume: Volume,
    grid: Grid,
    mode: Literal["linear", "nearest"] = "linear",
    transform: NDArray[np.float64] | None = None,
    fill: float | None = None,
    reach: Sequence[float] = (0.0, 0.0, 0.0),
) -> Volume:
    """Sample a volume on another grid: (C, *grid.shape).

    With ``linear``, axes along which ``grid`` is coarser are first smoothed against aliasing. The point spread function
    of a voxel is a Gaussian whose full width at half maximum is the spacing, so sigma is
    ``sqrt(ratio^2 - 1) / (2 sqrt(2 ln 2))`` source voxels for this ratio of spacings (Cardoso et al., Scale factor
    point spread function matching, MICCAI 2015).

    Args:
        volume: data (C, I, J, K) on its own grid.
        grid: grid of the result.
        mode: ``linear`` for images; ``nearest`` for label maps, whose integer dtype is kept.
        transform: 4x4, world RAS mm of ``grid`` to world RAS mm of ``volume``; None is the identity.
        fill: value outside the field of view; None is the smallest value of the volume for ``linear``, 0 for
            ``nearest``.
        reach: with ``linear``, so many voxels of the volume beyond its field of view, along I, J and K, its border is
            repeated before ``fill`` begins.
    """
    to_source = np.eye(4) if transform is None else transform
    voxel_to_world = to_source @ grid.matrix(Frame.VOXEL, Frame.WORLD_RAS)
    matrix = volume.grid.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE) @ voxel_to_world
    if mode == "nearest":
        # double represents every label id exactly
        values = volume.data if volume.data.is_floating_point() else volume.data.double()
        sampled = sample_affine(values, matrix, grid.shape, mode=mode, fill=0.0 if fill is None else fill)
        return Volume(sampled.to(volume.data.dtype), grid)
    outside = float(volume.data.min()) if fill is None else fill
    sigma = _prefilter_sigma(volume.grid.matrix(Frame.WORLD_RAS, Frame.VOXEL) @ voxel_to_world)
    smooth = gaussian_smooth(volume.data[None], sigma)[0]
    return Volume(sample_affine(smooth, matrix, grid.shape, fill=outside, reach=reach), grid)


def _prefilter_sigma(voxel_to_voxel: NDArray[np.float64]) -> list[float]:
    """Sigma along each source axis, in source voxels, for a 4x4 matrix from target to source voxels."""
    # The length of a row is the new spacing along that source axis; a rotation gives 1, so no smoothing.
    ratios = np.linalg.norm(voxel_to_voxel[:3, :3], axis=1)
    return [math.sqrt(max(ratio**2 - 1, 0)) / _FWHM if ratio > 1.001 else 0.0 for ratio in ratios.tolist()]
