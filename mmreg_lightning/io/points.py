"""Files of points: tables, 3D Slicer's markups, and meshes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.frames import RAS_TO_LPS, transform_points
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.markups import read_markups
from mmreg_lightning.io.point_tables import PointsFrame, read_point_table

MESH_SUFFIXES = (".ply", ".vtk", ".vtu", ".stl", ".obj", ".off")
TABLE_SUFFIXES = (".csv", ".tsv", ".fcsv")
POINT_SUFFIXES = (*TABLE_SUFFIXES, ".json", *MESH_SUFFIXES)


@dataclass(frozen=True)
class PointFile:
    """Points of a file, and a function that writes a copy of the file with other points.

    Attributes:
        points: (N, 3), world RAS mm.
        write: called with (N, 3), world RAS mm, and a path of the same ending.
        notes: what was assumed, one sentence each that names the file.
    """

    points: NDArray[np.float64]
    write: Callable[[NDArray[np.float64], Path], None]
    notes: tuple[str, ...] = ()


def is_point_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file name has the ending of a file of points."""
    return str(path).lower().endswith(POINT_SUFFIXES)


def read_points(
    path: str | os.PathLike[str],
    frame: PointsFrame | None = None,
    source: NativeGrid | None = None,
    target: NativeGrid | None = None,
) -> PointFile:
    """Read a file of points.

    Args:
        path: ``.csv``, ``.tsv`` or ``.fcsv`` (see ``read_point_table``), ``.json`` (markups of 3D Slicer), or a mesh
            that meshio reads.
        frame: frame of the coordinates, needed where the file does not say it: ``voxel`` (array indices of an image
            file), ``ras`` or ``lps`` (world mm; Slicer saves meshes in LPS).
        source, target: for ``voxel``, layouts of the images in whose voxels the points are read and written.

    Raises:
        UserError: the file is missing, damaged, or has no points; no frame is known or another one than ``frame``, or
            no images for ``voxel``.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    suffix = file.suffix.lower()
    if suffix == ".json":
        return PointFile(*read_markups(file, frame))
    if suffix not in TABLE_SUFFIXES:
        return _read_mesh(file, *_matrices(file, frame, source, target))
    table = read_point_table(file, frame)
    to_ras, from_ras = _matrices(file, table.frame, source, target)

    def write(points: NDArray[np.float64], out: Path) -> None:
        table.write(transform_points(from_ras, points), out)

    return PointFile(transform_points(to_ras, table.coordinates), write, table.notes)


def _matrices(
    file: Path, frame: PointsFrame | None, source: NativeGrid | None, target: NativeGrid | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """4x4 of the coordinates in a file to world RAS mm, and of world RAS mm to those to be written."""
    if frame is None:
        raise UserError(f"{file}: its points need a frame, points_frame=voxel, points_frame=ras or points_frame=lps")
    if frame != "voxel":
        both = RAS_TO_LPS if frame == "lps" else np.eye(4)
        return both, both
    if source is None or target is None:
        raise UserError(
            f"points_frame=voxel: points_image must name the image in whose voxels {file} is, and reference that in "
            "whose voxels to write"
        )
    return source.affine, np.asarray(np.linalg.inv(target.affine), dtype=np.float64)


def _read_mesh(file: Path, to_ras: NDArray[np.float64], from_ras: NDArray[np.float64]) -> PointFile:
    import meshio

    try:
        # meshio prints its failures, and sums over the header of a text file overflow.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), np.errstate(over="ignore"):
            mesh: Any = meshio.read(file)
    # meshio exits the process if no reader fits, and its readers raise different exceptions.
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{file} is not a mesh that meshio reads ({', '.join(MESH_SUFFIXES)}; of VTK's legacy files only "
            "unstructured grids, so save surfaces as .ply)"
        ) from error
    coordinates = np.asarray(mesh.points, dtype=np.float64)
    if coordinates.ndim != 2 or coordinates.shape[1] != 3 or not len(coordinates):
        raise UserError(f"{file} holds no points in three dimensions")

    def write(points: NDArray[np.float64], out: Path) -> None:
        mesh.points = transform_points(from_ras, points).astype(mesh.points.dtype)
        with atomic_path(out) as temporary, redirect_stdout(io.StringIO()):
            mesh.write(temporary)

    return PointFile(transform_points(to_ras, coordinates), write)
