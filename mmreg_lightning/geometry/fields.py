"""Displacement fields: between voxels and millimetres, between grids, and as files of ITK."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS, Frame
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.images import INTENT_VECTOR, has_vector_intent, load_array, save_array
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.sampling import sample_affine
from mmreg_lightning.geometry.volume import Volume


def voxels_to_world(displacement: Tensor, grid: Grid) -> Tensor:
    """Displacement (..., 3, I, J, K) in voxels of ``grid``, order I, J, K -> world RAS mm, order R, A, S."""
    return _map_vectors(displacement, grid.affine)


def world_to_voxels(displacement: Tensor, grid: Grid) -> Tensor:
    """Displacement (..., 3, I, J, K) in world RAS mm, order R, A, S -> voxels of ``grid``, order I, J, K."""
    return _map_vectors(displacement, grid.matrix(Frame.WORLD_RAS, Frame.VOXEL))


def resample_displacement(displacement: Tensor, grid_from: Grid, grid_to: Grid) -> Tensor:
    """Carry a displacement to another grid in the same world, by linear interpolation.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K), voxels of ``grid_from``.
        grid_from: the grid on which it lies.
        grid_to: the grid on which it is wanted; outside the field of view of ``grid_from`` the border is
            repeated.

    Returns:
        (3, *grid_to.shape), or (1, 3, *grid_to.shape) for an input with a batch axis, in voxels of
        ``grid_to``.

    Raises:
        ValueError: the shape is not that of ``grid_from``.
    """
    field = _single(displacement, grid_from)
    matrix = grid_from.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE) @ grid_to.matrix(Frame.VOXEL, Frame.WORLD_RAS)
    sampled = sample_affine(field, matrix, grid_to.shape)
    out = _map_vectors(sampled, grid_from.voxel_to(grid_to))
    return out[None] if displacement.ndim == 5 else out


def write_itk_field(displacement: Tensor, grid: Grid, path: str | os.PathLike[str], like: Volume | None = None) -> None:
    """Write a displacement as a NIfTI that SimpleITK, ITK, ANTs and Slicer read as a displacement field.

    The file is (I, J, K, 1, 3) float32 with intent 1007; its vectors are world LPS mm and point from fixed
    to moving, as ``sitk.DisplacementFieldTransform`` and ``antsApplyTransforms`` want them for resampling
    the moving image.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K), voxels of ``grid``.
        grid: the RAS+ grid on which it lies.
        path: file name ending in .nii or .nii.gz.
        like: the fixed image as it was read: the file gets that image's own grid, axis order and flips, and
            the displacement is resampled when ``grid`` is another one. None writes ``grid`` as it is.

    Raises:
        ValueError: the shape is not that of ``grid``.
    """
    field = _single(displacement.detach(), grid)
    target = Volume(field, grid) if like is None else like
    if not grid.same_as(target.grid, tol=1e-3):
        field = resample_displacement(field, grid, target.grid)
    lps = _map_vectors(field, RAS_TO_LPS @ target.grid.affine)
    array = np.moveaxis(lps.cpu().numpy().astype(np.float32, copy=False), 0, -1)
    # Reordering the voxels leaves the vectors alone: they are in the world.
    save_array(target.native.from_canonical(array)[:, :, :, None], target.native, path, intent=INTENT_VECTOR)


def read_itk_field(path: str | os.PathLike[str]) -> tuple[Tensor, Grid]:
    """Read a displacement field of ITK (NIfTI, intent 1007, world LPS mm) of any axis order.

    Returns:
        Displacement (3, I, J, K), float32, in voxels of the RAS+ grid that is returned with it.

    Raises:
        UserError: the file cannot be read, is no vector field of shape (I, J, K, 1, 3), or has NaN or
            infinite values.
    """
    array, native = load_array(path)
    if array.shape[3:] != (1, 3) or not has_vector_intent(path):
        raise UserError(f"{path} is not an ITK displacement field, a NIfTI of shape (I, J, K, 1, 3) with intent 1007")
    if not np.isfinite(array).all():
        raise UserError(f"the displacement field {path} has NaN or infinite values")
    return itk_displacement(array[:, :, :, 0], native)


def itk_displacement(vectors: NDArray[np.floating], native: NativeGrid) -> tuple[Tensor, Grid]:
    """A displacement field as ITK holds it, in this package's form.

    Args:
        vectors: (I, J, K, 3), world LPS mm, in the axis order of the file.
        native: where they lie.

    Returns:
        See ``read_itk_field``.
    """
    canonical = native.to_canonical(vectors.astype(np.float32))
    lps = torch.from_numpy(np.ascontiguousarray(np.moveaxis(canonical, -1, 0)))
    grid = native.canonical_grid
    return world_to_voxels(_map_vectors(lps, RAS_TO_LPS), grid), grid


def _map_vectors(field: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    linear = torch.tensor(matrix[:3, :3], dtype=field.dtype, device=field.device)
    return torch.einsum("xc,...cijk->...xijk", linear, field)


def _single(displacement: Tensor, grid: Grid) -> Tensor:
    """(3, I, J, K) of a displacement with or without a batch axis of one, checked against its grid."""
    field = displacement[0] if displacement.ndim == 5 and displacement.shape[0] == 1 else displacement
    if tuple(field.shape) != (3, *grid.shape):
        raise ValueError(f"displacement of shape {tuple(displacement.shape)} on a grid of shape {grid.shape}")
    return field
