"""Linear transforms of FreeSurfer (.lta).

FreeSurfer's ``transform.h``: type 0 leads from voxels to voxels, type 1 from scanner RAS to scanner RAS mm, from the
source (moving) to the destination (fixed) volume. The geometry of both volumes is in the file; ``cras`` is the place
of voxel ``volume / 2``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import write_text
from mmreg_lightning.geometry.grid import Grid, is_invertible
from mmreg_lightning.geometry.native import NativeGrid

_VOXELS, _RAS = 0, 1


def read_lta(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read a linear transform of FreeSurfer: 4x4, world RAS mm of its destination to that of its source volume.

    Raises:
        UserError: the file is damaged, holds several transforms or one of another type, or voxels without geometry.
    """
    file = Path(path)
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line]
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        values = {key.strip(): value.strip() for key, value in values.items()}
        kind, count = int(values["type"]), int(values["nxforms"])
        start = lines.index("1 4 4") + 1
        matrix = np.array([line.split() for line in lines[start : start + 4]], dtype=np.float64)
        volumes = {name: _volume(lines, name) for name in ("src", "dst")}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{file} is not a transform of FreeSurfer (.lta), or is damaged") from error
    if count != 1 or kind not in (_VOXELS, _RAS):
        raise UserError(
            f"{file} holds {count} transforms of FreeSurfer's type {kind}; it must be one of type 0 (voxels) or 1 "
            "(RAS), as lta_convert writes"
        )
    if matrix.shape != (4, 4) or not is_invertible(matrix):
        raise UserError(f"{file} holds a transform that has no inverse")
    if kind == _VOXELS:
        source, target = volumes["src"], volumes["dst"]
        if source is None or target is None:
            raise UserError(f"{file} leads from voxels to voxels, but lacks the geometry of its volumes")
        matrix = target @ matrix @ np.linalg.inv(source)
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def write_lta(
    affine: NDArray[np.float64],
    fixed: NativeGrid,
    moving: NativeGrid,
    names: tuple[str, str],
    path: str | os.PathLike[str],
) -> None:
    """Write a 4x4 affine, world RAS mm of the fixed to that of the moving image, as type 1 of FreeSurfer.

    Args:
        affine: the matrix.
        fixed, moving: layouts of the two image files.
        names: file names of the two, which the transform mentions.
        path: of the file.
    """
    rows = ["type      = 1 # LINEAR_RAS_TO_RAS", "nxforms   = 1", "mean      = 0.0 0.0 0.0", "sigma     = 1.0", "1 4 4"]
    rows += [" ".join(f"{value:.15e}" for value in row) for row in np.linalg.inv(affine)]
    for title, native, name in (("src", moving, names[1]), ("dst", fixed, names[0])):
        grid = Grid(native.shape, native.affine)
        center = native.affine @ [*(np.array(native.shape) / 2), 1]
        rows += [f"{title} volume info", "valid = 1  # volume info valid", f"filename = {name}"]
        rows += [f"volume = {_row(native.shape, 'd')}", f"voxelsize = {_row(grid.spacing, '.15e')}"]
        rows += [f"{axis}ras   = {_row(grid.direction[:, n], '.15e')}" for n, axis in enumerate("xyz")]
        rows += [f"cras   = {_row(center[:3], '.15e')}"]
    write_text(path, "\n".join(rows) + "\n")


def _row(values: tuple[int, ...] | NDArray[np.float64], form: str) -> str:
    return " ".join(format(value, form) for value in values)


def _volume(lines: list[str], name: str) -> NDArray[np.float64] | None:
    """4x4, voxels of the source or destination volume to world RAS mm; None where the file does not know it."""
    start = lines.index(f"{name} volume info") + 1
    block = dict(line.split("=", 1) for line in lines[start : start + 8] if "=" in line)
    values = {key.strip(): value.split() for key, value in block.items()}
    if values["valid"] != ["1"]:
        return None
    shape, spacing = (np.array(values[key], dtype=np.float64) for key in ("volume", "voxelsize"))
    affine = np.eye(4)
    affine[:3, :3] = np.array([values[f"{axis}ras"] for axis in "xyz"], dtype=np.float64).T * spacing
    affine[:3, 3] = np.array(values["cras"], dtype=np.float64) - affine[:3, :3] @ (shape / 2)
    return affine
