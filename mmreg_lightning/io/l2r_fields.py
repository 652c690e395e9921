"""Displacement fields in Learn2Reg's format: voxels, for ``scipy.ndimage.map_coordinates``."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from scipy.ndimage import zoom
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.images import load_array, save_array


def to_l2r(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float32]:
    """A displacement u in Learn2Reg's format, (X, Y, Z, 3) in the axis order of the fixed file.

    Voxel x of the fixed file is mapped to voxel ``x + u(x)`` of the moving file.

    Args:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.
    """
    return (mapped_voxels(displacement, fixed, moving) - voxel_indices(fixed.shape)).astype(np.float32)


def mapped_voxels(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float64]:
    """``x + u(x)`` of ``to_l2r``: (X, Y, Z, 3) in the axis order of the fixed file, in voxels of the moving file."""
    grid = fixed.canonical_grid
    mapped = voxel_indices(grid.shape) + np.moveaxis(displacement[0].detach().cpu().double().numpy(), 0, -1)
    out: NDArray[np.float64] = fixed.from_canonical(
        transform_points(np.linalg.inv(moving.affine) @ grid.affine, mapped)
    )
    return out


def from_l2r(field: NDArray[np.floating], fixed: NativeGrid, moving: NativeGrid) -> Tensor:
    """The inverse of ``to_l2r``: (1, 3, I, J, K), float32, in voxels of the fixed image's RAS+ grid."""
    grid = fixed.canonical_grid
    mapped = transform_points(np.linalg.inv(grid.affine) @ moving.affine, field + voxel_indices(fixed.shape))
    displacement = fixed.to_canonical(mapped) - voxel_indices(grid.shape)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(displacement, -1, 0))).float()[None]


def write_l2r_field(
    displacement: Tensor,
    fixed: NativeGrid,
    moving: NativeGrid,
    path: str | os.PathLike[str],
    dtype: DTypeLike = np.float32,
) -> None:
    """Write ``to_l2r`` as ``.npz`` or as NIfTI, by the file name.

    Args:
        displacement, fixed, moving: see ``to_l2r``.
        path: of the file.
        dtype: float16 is what Learn2Reg asks of submissions. It keeps 11 binary digits: displacements below 64 voxels
            are rounded by 1/64 voxel at most, those below 8 voxels by 1/512.
    """
    field = to_l2r(displacement, fixed, moving).astype(dtype)
    if str(path).endswith(".npz"):
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, field)
    else:
        save_array(field, fixed, path)


def read_l2r_field(path: str | os.PathLike[str], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Read a field of Learn2Reg: (X, Y, Z, 3) in the axis order of the file, in voxels of the fixed image.

    A field of half resolution is enlarged as in the challenge, by ``scipy.ndimage.zoom`` of order 2.

    Args:
        path: ``.npz`` with one array, or NIfTI, with components on the first or the last axis.
        shape: (X, Y, Z) of the fixed image.

    Raises:
        UserError: the file cannot be read, has NaN or displacements of more than twice the image's size (another unit),
            or its size is neither that of the image nor half of it.
    """
    array: NDArray[np.float64] = _load(Path(path)).astype(np.float64)
    if array.ndim == 5 and array.shape[3] == 1:  # a vector NIfTI
        array = array[:, :, :, 0]
    if array.ndim != 4 or 3 not in (array.shape[0], array.shape[-1]):
        raise UserError(f"{path}: a displacement field must have shape (X, Y, Z, 3), not {array.shape}")
    if array.shape[-1] != 3:
        array = np.moveaxis(array, 0, -1)
    if not np.isfinite(array).all():
        raise UserError(f"{path}: the displacement field has NaN or infinite values")
    largest = float(np.abs(array).max(initial=0.0))
    if largest > 2 * max(shape):
        raise UserError(
            f"{path}: displacements of up to {largest:.4g} voxels in an image of {shape} voxels; they must be in "
            "voxels of the fixed image"
        )
    if array.shape[:3] == shape:
        return array
    if array.shape[:3] not in (tuple(n // 2 for n in shape), tuple(-(-n // 2) for n in shape)):
        raise UserError(
            f"{path}: a field of {array.shape[:3]} voxels for an image of {shape}, neither its size nor half of it"
        )
    factors = [n / m for n, m in zip(shape, array.shape[:3], strict=True)]
    return np.stack([zoom(array[..., axis], factors, order=2) for axis in range(3)], axis=-1)


def _load(path: Path) -> NDArray[np.floating]:
    if path.suffix != ".npz":
        return load_array(path)[0]
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with np.load(path) as content:
            arrays = [content[name] for name in content.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz file, or is damaged") from error
    if len(arrays) != 1 or arrays[0].dtype.kind not in "fiu":
        raise UserError(f"{path} must hold one array of numbers, it holds {len(arrays)} arrays")
    return arrays[0]


def voxel_indices(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Index of every voxel of an array of this shape, (I, J, K, 3)."""
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"), axis=-1)
