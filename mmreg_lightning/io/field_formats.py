"""The file formats of displacement fields and affines for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.fsl import INTENT_FSL_DISPLACEMENT, to_fsl, write_flirt_matrix
from mmreg_lightning.io.images import save_array
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.l2r_fields import mapped_voxels, write_l2r_field
from mmreg_lightning.io.lta import write_lta
from mmreg_lightning.io.transforms import write_affine

FieldFormat = Literal["itk", "l2r", "fsl", "torch"]
FIELD_FORMATS: tuple[FieldFormat, ...] = get_args(FieldFormat)
OutputFormat = Literal["itk", "l2r", "fsl", "torch", "lta"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
"""``FIELD_FORMATS``, and ``lta``, FreeSurfer's form of the affine, which has no field."""
AFFINE_NAMES: dict[OutputFormat, str] = {"itk": "affine.tfm", "fsl": "affine.fsl.mat", "lta": "affine.lta"}
"""File name of the affine in those formats that have one."""
_ENDINGS: dict[FieldFormat, str] = {"itk": "itk.nii.gz", "l2r": "l2r.npz", "fsl": "fsl.nii.gz", "torch": "torch.pt"}


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
        save_array(field, fixed.native, path, intent=INTENT_FSL_DISPLACEMENT)
    else:
        with atomic_path(path) as temporary:
            torch.save(to_torch(displacement, fixed.native, moving.native), temporary)
    return path


def write_affine_as(
    affine: NDArray[np.float64], fixed: Volume, moving: Volume, folder: Path, kind: OutputFormat
) -> None:
    """Write a 4x4 affine, world RAS mm of the fixed to that of the moving image, if ``kind`` has a form for it.

    Args:
        affine: the matrix.
        fixed, moving: images with the layout of their files.
        folder: gets the file that ``AFFINE_NAMES`` names.
        kind: ``itk``, ``fsl`` (matrix of FLIRT) or ``lta`` (FreeSurfer).
    """
    if kind == "itk":
        write_affine(affine, folder / AFFINE_NAMES[kind])
    elif kind == "fsl":
        write_flirt_matrix(affine, fixed.native, moving.native, folder / AFFINE_NAMES[kind])
    elif kind == "lta":
        names = (str(fixed.path or "fixed"), str(moving.path or "moving"))
        write_lta(affine, fixed.native, moving.native, names, folder / AFFINE_NAMES[kind])


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
