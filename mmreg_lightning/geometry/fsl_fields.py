"""Displacement fields in FSL's form, for ``applywarp --rel``."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.images import save_array
from mmreg_lightning.geometry.l2r_fields import mapped_voxels, voxel_indices
from mmreg_lightning.geometry.native import NativeGrid

_INTENT_FSL_DISPLACEMENT = 2006  # NIFTI_INTENT_FSL_FNIRT_DISPLACEMENT_FIELD


def to_fsl(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float32]:
    """A displacement as FSL's relative warp.

    FSL measures places in millimetres from the first voxel of a file, along the file's own axes, the first of which is
    reversed where the affine keeps handedness (its determinant is positive): the "FSL coordinates" of its manual. The
    warp is the difference of the place in the moving image and the place in the fixed one, each in its own image's.

    Args:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.

    Returns:
        (X, Y, Z, 3), mm, in the axis order of the fixed file.
    """
    source = _fsl_coordinates(mapped_voxels(displacement, fixed, moving), moving)
    return (source - _fsl_coordinates(voxel_indices(fixed.shape), fixed)).astype(np.float32)


def write_fsl_field(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid, path: str | os.PathLike[str]) -> None:
    """Write ``to_fsl`` as NIfTI: ``applywarp -i moving -r fixed -w FILE --rel -o warped``."""
    save_array(to_fsl(displacement, fixed, moving), fixed, path, intent=_INTENT_FSL_DISPLACEMENT)


def _fsl_coordinates(voxels: NDArray[np.float64], native: NativeGrid) -> NDArray[np.float64]:
    """Voxels (..., 3) of a file in FSL's millimetres."""
    scaled = voxels.copy()
    if np.linalg.det(native.affine[:3, :3]) > 0:
        scaled[..., 0] = native.shape[0] - 1 - scaled[..., 0]
    spacing = Grid(native.shape, native.affine).spacing
    out: NDArray[np.float64] = scaled * spacing
    return out
