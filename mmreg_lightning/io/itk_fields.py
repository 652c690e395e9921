"""Displacement fields in ITK's format: vector NIfTI (intent 1007), world LPS mm."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.fields import map_vectors, resample_displacement, single_field, world_to_voxels
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import INTENT_VECTOR, has_vector_intent, load_array, save_array


def write_itk_field(displacement: Tensor, grid: Grid, path: str | os.PathLike[str], like: Volume | None = None) -> None:
    """Write a displacement as a NIfTI that SimpleITK, ITK, ANTs and Slicer read as a displacement field.

    The file is (X, Y, Z, 1, 3) float32 with intent 1007. Its vectors are world LPS mm and point from fixed to moving,
    as ``sitk.DisplacementFieldTransform`` and ``antsApplyTransforms`` require for resampling the moving image.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K) in voxels of ``grid``.
        grid: RAS+ grid of the displacement.
        path: file name ending in .nii or .nii.gz.
        like: the fixed image; the file gets its grid, axis order and flips, and the displacement is resampled if
            ``grid`` is another one. None writes on ``grid``.

    Raises:
        ValueError: the displacement does not have the shape of ``grid``.
    """
    field = single_field(displacement.detach(), grid)
    target = Volume(field, grid) if like is None else like
    if not grid.same_as(target.grid, tol=1e-3):
        field = resample_displacement(field, grid, target.grid)
    lps = map_vectors(field, RAS_TO_LPS @ target.grid.affine)
    array = np.moveaxis(lps.cpu().numpy().astype(np.float32, copy=False), 0, -1)
    # Only voxels are reordered: the vectors are in world coordinates.
    save_array(target.native.from_canonical(array)[:, :, :, None], target.native, path, intent=INTENT_VECTOR)


def read_itk_field(path: str | os.PathLike[str]) -> tuple[Tensor, Grid]:
    """Read a displacement field of ITK: (3, I, J, K), float32, in voxels of its RAS+ grid, and the grid.

    Raises:
        UserError: the file cannot be read, is not a vector field of shape (X, Y, Z, 1, 3), or has NaN or infinite
            values.
    """
    array, native = load_array(path)
    if array.shape[3:] != (1, 3) or not has_vector_intent(path):
        raise UserError(f"{path} is not an ITK displacement field, a NIfTI of shape (I, J, K, 1, 3) with intent 1007")
    if not np.isfinite(array).all():
        raise UserError(f"the displacement field {path} has NaN or infinite values")
    return itk_displacement(array[:, :, :, 0], native)


def itk_displacement(vectors: NDArray[np.floating], native: NativeGrid) -> tuple[Tensor, Grid]:
    """The result of ``read_itk_field`` from vectors (X, Y, Z, 3), world LPS mm in the axis order of ``native``."""
    canonical = native.to_canonical(vectors.astype(np.float32))
    lps = torch.from_numpy(np.ascontiguousarray(np.moveaxis(canonical, -1, 0)))
    grid = native.canonical_grid
    return world_to_voxels(map_vectors(lps, RAS_TO_LPS), grid), grid
