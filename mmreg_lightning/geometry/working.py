"""From an image as it is on disk to network input: the same path for training and for a new pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

WORKING_MULTIPLE = 8
"""Sides of a working grid are multiples of this: features of stride 2 then pool by 2 and 4 without a remainder."""


def working_grid(grid: Grid, spacing: float | Sequence[float], multiple: int = WORKING_MULTIPLE) -> Grid:
    """The grid to compute on: another spacing about the same centre, every side a multiple of ``multiple``.

    It covers the field of view of ``grid``; the voxels that fill up the multiple are shared between both
    ends.

    Args:
        grid: of the image.
        spacing: in mm, one for all axes or one for each.
        multiple: of each side, in voxels.
    """
    fine = grid.resampled(spacing)
    shape = tuple(n + -n % multiple for n in fine.shape)
    affine = np.array(fine.affine)
    first = (np.array(fine.shape) - np.array(shape)) / 2
    affine[:3, 3] += affine[:3, :3] @ first
    return Grid((shape[0], shape[1], shape[2]), affine)


def prepare_image(image: Volume, grid: Grid, recipe: Recipe, transform: np.ndarray | None = None) -> torch.Tensor:
    """Network input on a working grid.

    Percentiles are those of the whole image, so that the field of view of the grid does not change the
    contrast.

    Args:
        image: (1, I, J, K), intensities as in the file.
        grid: the working grid, of this image or of the one that it is to be compared with.
        recipe: see ``normalise_intensity``.
        transform: 4x4, world RAS mm of the grid to world RAS mm of the image (an initial affine); None is
            identity.

    Returns:
        (1, I, J, K) on ``grid``, in [0, 1] where the recipe clips; outside the image its darkest value, or 0 if that
        is less.

    Raises:
        UserError: no contrast is left within the recipe's window.
    """
    normalised = normalise_intensity(image.data, recipe)
    darkest, brightest = float(normalised.min()), float(normalised.max())
    if min(max(darkest, 0.0), 1.0) == min(max(brightest, 0.0), 1.0):
        name = image.path or "the image"
        raise UserError(f"{name} has no contrast within its intensity recipe {dict(recipe)}")
    volume = Volume(normalised, image.grid, path=image.path)
    return resample_volume(volume, grid, "linear", transform=transform, fill=min(darkest, 0.0)).data


def field_of_view(image: Volume, grid: Grid, transform: np.ndarray | None = None) -> torch.Tensor:
    """Where a working grid sees the image: (1, I, J, K) float32 on ``grid``, 1 inside and 0 outside.

    Args:
        image: on its own grid.
        grid, transform: see ``prepare_image``.
    """
    ones = Volume(torch.ones_like(image.data, dtype=torch.float32), image.grid)
    return resample_volume(ones, grid, "nearest", transform=transform).data
