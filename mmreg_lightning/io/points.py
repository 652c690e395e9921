"""Reading and writing of points: CSV tables, 3D Slicer's markups, and meshes."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path, write_json
from mmreg_lightning.geometry.frames import RAS_TO_LPS, transform_points
from mmreg_lightning.geometry.native import NativeGrid

PointsFrame = Literal["voxel", "ras", "lps"]
MESH_SUFFIXES = (".ply", ".vtk", ".vtu", ".stl", ".obj", ".off")
POINT_SUFFIXES = (".csv", ".json", *MESH_SUFFIXES)


@dataclass(frozen=True)
class PointFile:
    """Points of a file, and a function that writes a copy of the file with other points.

    Attributes:
        points: (N, 3), world RAS mm.
        write: called with (N, 3), world RAS mm, and a path of the same ending.
    """

    points: NDArray[np.float64]
    write: Callable[[NDArray[np.float64], Path], None]


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
        path: ``.csv`` (see ``read_point_table``), ``.json`` (markups of 3D Slicer, which name their frame), or a mesh
            that meshio reads.
        frame: frame of the coordinates, needed for everything but markups: ``voxel`` (array indices of an image file),
            ``ras`` or ``lps`` (world mm; Slicer saves meshes in LPS).
        source, target: for ``voxel``, layouts of the images in whose voxels the points are read and written.

    Raises:
        UserError: the file is missing, damaged, or has no points; no frame is given, or no images for ``voxel``.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    if file.suffix.lower() == ".json":
        return _read_markups(file)
    if frame is None:
        raise UserError(f"{file}: its points need a frame, points_frame=voxel, points_frame=ras or points_frame=lps")
    to_ras = from_ras = RAS_TO_LPS if frame == "lps" else np.eye(4)
    if frame == "voxel":
        if source is None or target is None:
            raise UserError(
                f"points_frame=voxel: points_image must name the image in whose voxels {file} is, and reference that "
                "in whose voxels to write"
            )
        to_ras, from_ras = source.affine, np.linalg.inv(target.affine).astype(np.float64)
    return _read_csv(file, to_ras, from_ras) if file.suffix.lower() == ".csv" else _read_mesh(file, to_ras, from_ras)


class PointTable(NamedTuple):
    """A CSV of points.

    Attributes:
        header: the first row, if it holds no number; else empty.
        rows: all other rows, as text.
        coordinates: (N, 3), the first three columns of ``rows``.
    """

    header: list[list[str]]
    rows: list[list[str]]
    coordinates: NDArray[np.float64]


def read_point_table(path: str | os.PathLike[str]) -> PointTable:
    """Read a CSV whose first three columns are coordinates, with or without a header and further columns.

    Raises:
        UserError: the file is missing or not text, has no points, or a row does not begin with three finite numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        rows = [row for row in csv.reader(file.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is not a readable CSV file") from error
    header = [rows.pop(0)] if rows and not any(_is_number(cell) for cell in rows[0][:3]) else []
    coordinates = []
    for number, row in enumerate(rows, start=1 + len(header)):
        numbers = _numbers(row)
        if numbers is None:
            raise UserError(f"{file}: row {number} does not begin with three finite numbers: {','.join(row)}")
        coordinates.append(numbers)
    if not coordinates:
        raise UserError(f"{file} holds no points")
    return PointTable(header, rows, np.array(coordinates))


def _read_csv(file: Path, to_ras: NDArray[np.float64], from_ras: NDArray[np.float64]) -> PointFile:
    table = read_point_table(file)

    def write(points: NDArray[np.float64], out: Path) -> None:
        moved = transform_points(from_ras, points)
        with atomic_path(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerows(table.header)
            for place, row in zip(moved, table.rows, strict=True):
                writer.writerow([*(f"{value:.6f}" for value in place), *row[3:]])

    return PointFile(transform_points(to_ras, table.coordinates), write)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(row: list[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in row[:3]]
    except ValueError:
        return None
    return values if len(values) == 3 and np.isfinite(values).all() else None


def _read_markups(file: Path) -> PointFile:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        nodes = [
            (RAS_TO_LPS if node.get("coordinateSystem", "LPS") in ("LPS", "1", 1) else np.eye(4), point)
            for node in content["markups"]
            for point in node["controlPoints"]
            if point.get("position") is not None
        ]
        positions = np.array([point["position"] for _, point in nodes], dtype=np.float64).reshape(-1, 3)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not a markups file of 3D Slicer (.mrk.json), or is damaged") from error
    if not nodes or not np.isfinite(positions).all():
        raise UserError(f"{file} holds no points, or points that are not finite")
    matrices = [matrix for matrix, _ in nodes]

    def write(points: NDArray[np.float64], out: Path) -> None:
        for matrix, place, (_, point) in zip(matrices, points, nodes, strict=True):
            point["position"] = transform_points(matrix, place).tolist()
        write_json(out, content)

    return PointFile(np.stack([transform_points(m, p) for m, p in zip(matrices, positions, strict=True)]), write)


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
