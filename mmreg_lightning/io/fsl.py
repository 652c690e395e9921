"""FSL's coordinates, matrices of FLIRT and warp fields.

FSL (manual of FLIRT, on the format of its matrices): coordinates are millimetres from the first voxel of a file along
the file's axes; the first axis is reversed if the determinant of the affine is positive. Matrices and warps lead
between the coordinates of two images and cannot be understood without both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import write_text
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.images import read_layout
from mmreg_lightning.io.l2r_fields import mapped_voxels, voxel_indices

INTENT_FSL_DISPLACEMENT = 2006  # NIFTI_INTENT_FSL_FNIRT_DISPLACEMENT_FIELD
_NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".hdr.gz")


@dataclass(frozen=True, eq=False)
class FlirtMatrix:
    """A matrix of FLIRT.

    Attributes:
        matrix: 4x4, FSL coordinates of the input (moving) image to those of the reference (fixed) image.
        inverse: the inverse is meant, so that FLIRT's reference is the moving image.
    """

    matrix: NDArray[np.float64]
    inverse: bool = False

    def world(self, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float64]:
        """4x4, world RAS mm of the fixed to that of the moving image."""
        reference, source = (moving, fixed) if self.inverse else (fixed, moving)
        back = self.matrix @ _world_to_fsl(source)  # of the input image to FSL coordinates of the reference
        there = np.linalg.solve(back, _world_to_fsl(reference))
        return np.asarray(np.linalg.inv(there) if self.inverse else there, dtype=np.float64)


def write_flirt_matrix(
    affine: NDArray[np.float64], fixed: NativeGrid, moving: NativeGrid, path: str | os.PathLike[str]
) -> None:
    """Write a 4x4 affine, world RAS mm of the fixed to that of the moving image, for ``flirt -applyxfm -init``."""
    matrix = _world_to_fsl(fixed) @ np.linalg.inv(_world_to_fsl(moving) @ affine)
    write_text(path, "".join("  ".join(f"{value:.10f}" for value in row) + "\n" for row in matrix))


def fsl_layout(path: str | os.PathLike[str]) -> NativeGrid:
    """Layout of an image that FSL was given.

    Raises:
        UserError: see ``check_fsl_image`` and ``read_layout``.
    """
    _check_nifti(path)
    native = read_layout(path)
    check_fsl_image(path, native)
    return native


def check_fsl_image(path: str | os.PathLike[str], native: NativeGrid) -> None:
    """Check that FSL places the voxels of this file where ``native`` does.

    Raises:
        UserError: it is not NIfTI, whose axis order FSL's coordinates follow; or something was assumed of its header,
            as FSL ignores units and takes a file without forms for radiological.
    """
    _check_nifti(path)
    if native.notes:
        raise UserError(
            f"{path}: a transform of FSL cannot be used with this file, whose header FSL may read otherwise; "
            f"{native.notes[0]}"
        )


def _check_nifti(path: str | os.PathLike[str]) -> None:
    if Path(path).is_dir() or not os.fspath(path).lower().endswith(_NIFTI):
        raise UserError(f"{path} is not NIfTI: transforms of FSL need the very NIfTI files that FSL was given")


def to_fsl(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> NDArray[np.float32]:
    """A displacement as FSL's relative warp, (X, Y, Z, 3) in mm, in the axis order of the fixed file.

    The warp is the FSL coordinate in the moving image minus the FSL coordinate in the fixed image.

    Args:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.
    """
    source = transform_points(_voxels_to_fsl(moving), mapped_voxels(displacement, fixed, moving))
    return (source - transform_points(_voxels_to_fsl(fixed), voxel_indices(fixed.shape))).astype(np.float32)


def from_fsl(warp: NDArray[np.float64], fixed: NativeGrid, moving: NativeGrid) -> tuple[NDArray[np.float64], bool]:
    """Where a warp of FSL leads in the moving image, (X, Y, Z, 3) world RAS mm, and whether it is absolute.

    Absolute warps hold FSL coordinates of the moving image, relative ones differences. Files do not say which; FSL
    takes for absolute what varies more than its difference from the coordinates of the fixed image does.

    Args:
        warp: (X, Y, Z, 3), mm.
        fixed, moving: layouts of the two image files, the first being that of the warp.
    """
    own = transform_points(_voxels_to_fsl(fixed), voxel_indices(fixed.shape))
    absolute = bool(_spread(warp) > _spread(warp - own))
    return transform_points(np.linalg.inv(_world_to_fsl(moving)), warp if absolute else warp + own), absolute


def _spread(vectors: NDArray[np.float64]) -> float:
    return float(vectors.std(axis=(0, 1, 2)).sum())


def _voxels_to_fsl(native: NativeGrid) -> NDArray[np.float64]:
    """4x4, voxels of a file to FSL coordinates, mm."""
    matrix = np.diag([*Grid(native.shape, native.affine).spacing, 1.0])
    if np.linalg.det(native.affine[:3, :3]) > 0:
        matrix = matrix @ np.array([[-1.0, 0, 0, native.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return matrix


def _world_to_fsl(native: NativeGrid) -> NDArray[np.float64]:
    """4x4, world RAS mm to FSL coordinates, mm."""
    return _voxels_to_fsl(native) @ np.linalg.inv(native.affine)
