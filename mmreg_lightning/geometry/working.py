"""Preparation of network input from an image: working grid, normalisation and resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.rigid import rigid_grid
from mmreg_lightning.geometry.volume import Volume

WORKING_MULTIPLE = 8
"""Multiple of the sides of a working grid, so that features of stride 2 pool by 2 and 4 without a remainder."""


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
    return resample_volume(volume, grid, "linear", transform=transform, fill=min(darkest, 0.0)).data


def field_of_view(image: Volume, grid: Grid, transform: np.ndarray | None = None) -> torch.Tensor:
    """Mask of the image's field of view on ``grid``, (1, I, J, K) float32; ``transform`` as in ``prepare_image``."""
    ones = Volume(torch.ones_like(image.data, dtype=torch.float32), image.grid)
    return resample_volume(ones, grid, "nearest", transform=transform).data
