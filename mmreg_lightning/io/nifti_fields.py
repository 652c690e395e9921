"""Displacement fields and deformations in NIfTI files of ITK, ANTs, SPM, NiftyReg and FSL, told apart by their headers.

=========  ==============================================  ====================================================
program    header                                          vectors
=========  ==============================================  ====================================================
ITK, ANTs  5 axes, intent 1007, no name                    displacement, world LPS mm
SPM        5 axes, name ``Mapping`` or a description       place in the moving image, world RAS mm
           with ``Deformation``
NiftyReg   5 axes, intent 1007, name ``NREG_TRANS``        parameter 0: place, 1: displacement, world RAS mm
FSL        4 axes, intent 2006                             displacement or place, FSL's coordinates, mm
=========  ==============================================  ====================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.world_transforms import FieldTransform
from mmreg_lightning.io.fsl import INTENT_FSL_DISPLACEMENT, from_fsl
from mmreg_lightning.io.images import INTENT_VECTOR, load_array
from mmreg_lightning.io.itk_fields import itk_displacement
from mmreg_lightning.io.l2r_fields import voxel_indices

FslImages = Callable[[], tuple[NativeGrid, NativeGrid]]
"""Gives the layouts of FSL's reference and input image, or raises ``UserError`` where nobody named them."""
_NIFTYREG = {
    2: "control points",
    3: "a velocity field",
    4: "a velocity field",
    5: "control points",
    6: "control points",
}
_FSL_COEFFICIENTS = (2007, 2008, 2009, 2016, 2017, 2018)  # of FNIRT and TOPUP


def read_nifti_field(
    file: Path, kind: str | None = None, images: FslImages | None = None
) -> tuple[FieldTransform, tuple[str, ...]]:
    """Read a field, and what was assumed of it, one sentence each.

    Args:
        file: ``.nii`` or ``.nii.gz``.
        kind: ``itk``, ``spm``, ``niftyreg`` or ``fsl``; None is told from the header.
        images: for fields of FSL.

    Raises:
        UserError: the file cannot be read, holds no field, one of another kind or one that is not finite, or cannot be
            told apart from others.
    """
    array, native = load_array(file)
    header = nib.load(file).header
    if not isinstance(header, nib.Nifti1Header):
        raise UserError(f"{file} is not a displacement field: Analyze files name no intent")
    intent = int(header["intent_code"])
    if intent in _FSL_COEFFICIENTS:
        raise UserError(f"{file} holds coefficients of FSL (intent {intent}): fnirtfileutils writes the field of them")
    five, four = array.shape[3:] == (1, 3), array.shape[3:] == (3,)
    if not five and not four:
        raise UserError(f"{file} is not a displacement field: it must hold three numbers a voxel, not {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"the displacement field {file} has NaN or infinite values")
    vectors = array.reshape(*array.shape[:3], 3).astype(np.float64)
    told = kind is None
    kind = kind or _told(header, intent, five, file)
    if told and kind == "itk" and _follow_places(vectors, native):
        raise UserError(
            f"{file} names no program, and holds places rather than displacements: write spm:{file} for places in "
            f"world RAS mm, or itk:{file} if they are displacements"
        )
    if kind == "fsl":
        if images is None:
            raise UserError(f"{file} is a warp of FSL, which needs the images that FSL was given")
        positions, absolute = from_fsl(vectors, native, images()[1])
        word = "absolute (places)" if absolute else "relative (differences)"
        return _to_positions(positions, native), (
            *native.notes,
            f"{file}: a warp of FSL, taken for {word} by its range",
        )
    if kind == "spm":
        note = f"{file}: taken for a deformation of SPM, places in the moving image in world RAS mm"
        return _to_positions(vectors, native), (*native.notes, note)
    if kind == "niftyreg":
        sort = int(header["intent_p1"])
        if sort in _NIFTYREG:
            raise UserError(
                f"{file} holds {_NIFTYREG[sort]} of NiftyReg (parameter {sort}): reg_transform -def writes its field"
            )
        positions = vectors if sort == 0 else vectors + _positions(native)
        note = f"{file}: a {'deformation' if sort == 0 else 'displacement'} of NiftyReg, world RAS mm"
        return _to_positions(positions, native), (*native.notes, note)
    if kind != "itk":
        raise UserError(f"transform={kind}:{file}: a NIfTI field must be of itk, spm, niftyreg or fsl")
    return FieldTransform(*itk_displacement(vectors, native)), native.notes


def _told(header: nib.Nifti1Header, intent: int, five: bool, file: Path) -> str:
    if intent == INTENT_FSL_DISPLACEMENT:
        return "fsl"
    name, description = (_text(header, key) for key in ("intent_name", "descrip"))
    if five and name.startswith("NREG_TRANS"):
        return "niftyreg"
    if five and (name == "Mapping" or "deformation" in description.lower()):
        return "spm"
    unclear = "write itk:, spm:, niftyreg: or fsl: before its name to say whose it is"
    if not five or intent != INTENT_VECTOR:
        raise UserError(
            f"{file} is not a displacement field of ITK, a NIfTI of shape (I, J, K, 1, 3) with intent {INTENT_VECTOR}, "
            f"and names no other program; {unclear}"
        )
    if name:
        raise UserError(f"{file} holds vectors named {name!r}, which no known program writes; {unclear}")
    return "itk"


def _follow_places(vectors: NDArray[np.float64], native: NativeGrid) -> bool:
    """Whether vectors vary like the places of their voxels: a field of places, not of differences."""
    places = _positions(native)
    spread = [float(field.std(axis=(0, 1, 2)).sum()) for field in (vectors - places, vectors - places * [-1, -1, 1])]
    return min(spread) < 0.5 * float(vectors.std(axis=(0, 1, 2)).sum())


def _text(header: nib.Nifti1Header, key: str) -> str:
    return bytes(header[key].item()).split(b"\0")[0].decode("latin-1").strip()


def _positions(native: NativeGrid) -> NDArray[np.float64]:
    """World RAS mm of every voxel of a file, (X, Y, Z, 3)."""
    return transform_points(native.affine, voxel_indices(native.shape))


def _to_positions(positions: NDArray[np.float64], native: NativeGrid) -> FieldTransform:
    """The field that takes each voxel of a file to a place (X, Y, Z, 3), world RAS mm."""
    grid = native.canonical_grid
    voxels = native.to_canonical(transform_points(np.linalg.inv(grid.affine), positions))
    moved = np.moveaxis(voxels - voxel_indices(grid.shape), -1, 0)
    return FieldTransform(torch.from_numpy(np.ascontiguousarray(moved, dtype=np.float32)), grid)
