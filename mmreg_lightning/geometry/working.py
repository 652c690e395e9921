"""Preparation of network input from an image: working grid, normalisation and resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.rigid import rigid_grid
from mmreg_lightning.geometry.volume import Volume

WORKING_MULTIPLE = 8
"""Multiple of the sides of a working grid, so that features of stride 2 pool by 2 and 4 without a remainder."""


_LONGEST_SIDE = 128  # voxels of a default working grid: seconds to a minute on a CPU
_THIN = 32
"""Voxels of a working grid: along a shorter axis of an image, most patches of features reach beyond its border."""
_CONTINUED = 8  # working voxels, as far as features see


def default_spacing(grid: Grid) -> float:
    """Working spacing when nobody names one, mm, equal along all axes.

    The geometric mean of the image's own spacing, or as much more as keeps the longest side within 128 voxels; to
    four digits.
    """
    extent = max(n * s for n, s in zip(grid.shape, grid.spacing.tolist(), strict=True))
    mean = float(grid.spacing.prod()) ** (1 / 3)
    return float(f"{max(mean, extent / _LONGEST_SIDE):.4g}")


def working_grid(grid: Grid, spacing: float | Sequence[float], multiple: int = WORKING_MULTIPLE) -> Grid:
    """The grid for computation: ``grid.resampled(spacing)`` extended at both ends to a multiple of ``multiple`` voxels.

    It is rigid: about an image on a sheared grid it is that of its ``rigid_grid``.

    Args:
        grid: grid of the image.
        spacing: mm, one for all axes or one for each.
        multiple: every side is a multiple of this number of voxels.

    Raises:
        UserError: a spacing is not positive.
    """
    fine = rigid_grid(grid).resampled(spacing)
    shape = tuple(n + -n % multiple for n in fine.shape)
    affine = np.array(fine.affine)
    first = (np.array(fine.shape) - np.array(shape)) / 2
    affine[:3, 3] += affine[:3, :3] @ first
    return Grid((shape[0], shape[1], shape[2]), affine)


def prepare_image(image: Volume, grid: Grid, recipe: Recipe, transform: np.ndarray | None = None) -> torch.Tensor:
    """Network input on a working grid, (1, I, J, K), in [0, 1] if the recipe clips.

    Percentiles are those of the whole image. The value outside the image is the smaller of 0 and its darkest value.
    Along an axis of less than 32 working voxels the border is repeated for 8 of them first: the edge of a thin slab
    would otherwise be its strongest feature.

    Args:
        image: (1, I, J, K), intensities of the file.
        grid: working grid.
        recipe: see ``normalise_intensity``.
        transform: 4x4, world RAS mm of the grid to world RAS mm of the image (an initial affine); None is the identity.

    Raises:
        UserError: the image has no contrast within the recipe's window, or the recipe cannot be used.
    """
    normalised = normalise_intensity(image.data, recipe)
    darkest, brightest = float(normalised.min()), float(normalised.max())
    if min(max(darkest, 0.0), 1.0) == min(max(brightest, 0.0), 1.0):
        name = image.path or "the image"
        raise UserError(f"{name} has no contrast within its intensity recipe {dict(recipe)}")
    volume = Volume(normalised, image.grid, path=image.path)
    reach = np.zeros(3)
    for axis in thin_axes(image.grid, grid):
        reach[axis] = _CONTINUED / _steps(image.grid, grid)[axis]
    return resample_volume(volume, grid, transform=transform, fill=min(darkest, 0.0), reach=reach.tolist()).data


def field_of_view(image: Volume, grid: Grid, transform: np.ndarray | None = None) -> torch.Tensor:
    """Mask of the image's field of view on ``grid``, (1, I, J, K) float32; ``transform`` as in ``prepare_image``."""
    ones = Volume(torch.ones_like(image.data, dtype=torch.float32), image.grid)
    return resample_volume(ones, grid, "nearest", transform=transform).data


def thin_axes(image: Grid, working: Grid) -> list[int]:
    """Axes of an image that are shorter than 32 voxels of a working grid, see ``prepare_image``."""
    lengths = np.array(image.shape) * _steps(image, working)
    return [axis for axis, length in enumerate(lengths.tolist()) if length < _THIN]


def _steps(image: Grid, working: Grid) -> NDArray[np.float64]:
    """(3,) working voxels from one voxel of an image to the next, along each axis of the image."""
    return np.linalg.norm(image.voxel_to(working)[:3, :3], axis=0)
