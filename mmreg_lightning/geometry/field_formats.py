"""The forms in which a displacement field can be written for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from mmreg_lightning.geometry.fields import write_itk_field
from mmreg_lightning.geometry.fsl_fields import write_fsl_field
from mmreg_lightning.geometry.l2r_fields import write_l2r_field
from mmreg_lightning.geometry.torch_fields import write_torch_field
from mmreg_lightning.geometry.volume import Volume

FieldFormat = Literal["itk", "l2r", "fsl", "torch"]
FIELD_FORMATS: tuple[FieldFormat, ...] = get_args(FieldFormat)
_ENDINGS: dict[FieldFormat, str] = {
    "itk": "itk.nii.gz",
    "l2r": "l2r.npz",
    "fsl": "fsl.nii.gz",
    "torch": "torch.pt",
}


def field_name(stem: str, kind: FieldFormat) -> str:
    """Name of a field's file, as ``displacement.itk.nii.gz``."""
    return f"{stem}.{_ENDINGS[kind]}"


def write_field(
    displacement: Tensor, fixed: Volume, moving: Volume, folder: Path, stem: str, kind: FieldFormat
) -> Path:
    """Write a displacement in one form, on the grid and in the axis order of the fixed image's file.

    Args:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: images as they were read.
        folder, stem: see ``field_name``.
        kind: ``itk`` (vectors of world LPS mm: SimpleITK, ITK, ANTs, Slicer), ``l2r`` (voxels, for
            ``scipy.ndimage.map_coordinates``), ``fsl`` (relative warp, mm) or ``torch`` (grid of ``grid_sample``).

    Returns:
        The file.
    """
    path = folder / field_name(stem, kind)
    if kind == "itk":
        write_itk_field(displacement, fixed.grid, path, like=fixed)
    else:
        write = {"l2r": write_l2r_field, "fsl": write_fsl_field, "torch": write_torch_field}[kind]
        write(displacement, fixed.native, moving.native, path)
    return path
