"""The file formats of displacement fields for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import save_array
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.l2r_fields import mapped_voxels, voxel_indices, write_l2r_field

FieldFormat = Literal["itk", "l2r", "fsl", "torch"]
FIELD_FORMATS: tuple[FieldFormat, ...] = get_args(FieldFormat)
_ENDINGS: dict[FieldFormat, str] = {"itk": "itk.nii.gz", "l2r": "l2r.npz", "fsl": "fsl.nii.gz", "torch": "torch.pt"}
_INTENT_FSL_DISPLACEMENT = 2006  # NIFTI_INTENT_FSL_FNIRT_DISPLACEMENT_FIELD


def field_name(stem: str, kind: FieldFormat) -> str:
    """File name of a field, such as ``displacement.itk.nii.gz``."""
    return f"{stem}.{_ENDINGS[kind]}"


def write_field(
    displacement: Tensor, fixed: Volume, moving: Volume, folder: Path, stem: str, kind: FieldFormat
) -> Path:
    """Write a displacement on the grid and in the axis order of the fixed image's file, and return the path.

    Args:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: images with the layout of their files.
        folder, stem: folder and first part of the file name, see ``field_name``.
        kind: ``itk`` (vectors of world LPS mm: SimpleITK, ITK, ANTs, Slicer), ``l2r`` (voxels, for
            ``scipy.ndimage.map_coordinates``), ``fsl`` (relative warp, mm, for ``applywarp --rel``) or ``torch``
            (grid of ``grid_sample``, for ``torch.load``).
    """
    path = folder / field_name(stem, kind)
    if kind == "itk":
        write_itk_field(displacement, fixed.grid, path, like=fixed)
    elif kind == "l2r":
        write_l2r_field(displacement, fixed.native, moving.native, path)
    elif kind == "fsl":
        field = to_fsl(displacement, fixed.native, moving.native)
        save_array(field, fixed.native, path, intent=_INTENT_FSL_DISPLACEMENT)
    else:
        with atomic_path(path) as temporary:
            torch.save(to_torch(displacement, fixed.native, moving.native), temporary)
    return path


def to_fsl(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float32]:
    """A displacement as FSL's relative warp, (X, Y, Z, 3) in mm, in the axis order of the fixed file.

    FSL coordinates (FSL manual) are millimetres from the first voxel of a file along the file's axes; the first axis is
    reversed if the determinant of the affine is positive. The warp is the FSL coordinate in the moving image minus
    the FSL coordinate in the fixed image.

    Args:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.
    """
    source = _fsl_coordinates(mapped_voxels(displacement, fixed, moving), moving)
    return (source - _fsl_coordinates(voxel_indices(fixed.shape), fixed)).astype(np.float32)


def _fsl_coordinates(voxels: NDArray[np.float64], native: NativeGrid) -> NDArray[np.float64]:
    """Voxels (..., 3) of a file as FSL coordinates, mm."""
    scaled = voxels.copy()
    if np.linalg.det(native.affine[:3, :3]) > 0:
        scaled[..., 0] = native.shape[0] - 1 - scaled[..., 0]
    spacing = Grid(native.shape, native.affine).spacing
    out: NDArray[np.float64] = scaled * spacing
    return out


def to_torch(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> Tensor:
    """A displacement as a sampling grid, (1, X, Y, Z, 3) float32 in the axis order of the fixed file.

    ``grid_sample(moving_array[None, None], grid, align_corners=False)`` is the warped array, with ``moving_array`` in
    the axis order of its file.

    Args:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.
    """
    size = np.array(moving.shape)
    cube = (2 * mapped_voxels(displacement, fixed, moving) + 1) / size - 1
    return torch.from_numpy(np.ascontiguousarray(cube[..., ::-1], dtype=np.float32))[None]
