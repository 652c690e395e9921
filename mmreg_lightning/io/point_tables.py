"""Tables of points: CSV and TSV of any program, with ANTs' columns or 3D Slicer's, and Slicer's .fcsv.

The columns of the coordinates are told by their names, in upper or lower case: ``x,y,z``, ``r,a,s`` and ``l,p,s``
(world mm), ``i,j,k`` (voxels). A table without names must have three columns of numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path

PointsFrame = Literal["voxel", "ras", "lps"]
Columns = tuple[int, int, int]
_TRIPLES: dict[tuple[str, str, str], PointsFrame | None] = {
    ("x", "y", "z"): None,
    ("r", "a", "s"): "ras",
    ("l", "p", "s"): "lps",
    ("i", "j", "k"): "voxel",
}
_FCSV_FRAMES: dict[str, PointsFrame] = {"0": "ras", "RAS": "ras", "1": "lps", "LPS": "lps"}


class PointTable(NamedTuple):
    """A table of points.

    Attributes:
        head: lines before the points: comments, names of the columns.
        rows: all others, as text.
        points: numbers of the rows that hold points.
        columns: of the three coordinates.
        coordinates: (N, 3), those of ``points``.
        frame: what they are; None if neither the file nor the user says it.
        delimiter: between cells.
        notes: what was assumed, one sentence each that names the file.
    """

    head: list[str]
    rows: list[list[str]]
    points: list[int]
    columns: Columns
    coordinates: NDArray[np.float64]
    frame: PointsFrame | None
    delimiter: str
    notes: tuple[str, ...]

    def write(self, coordinates: NDArray[np.float64], out: Path) -> None:
        """Write a copy of the file with other coordinates (N, 3)."""
        rows = [list(row) for row in self.rows]
        for number, place in zip(self.points, coordinates, strict=True):
            for column, value in zip(self.columns, place, strict=True):
                rows[number][column] = f"{value:.6f}"
        with atomic_path(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            stream.writelines(f"{line}\r\n" for line in self.head)
            csv.writer(stream, delimiter=self.delimiter).writerows(rows)


def read_point_table(path: str | Path, frame: PointsFrame | None = None) -> PointTable:
    """Read a table of points; other columns stay as they are.

    Args:
        path: ``.csv``, ``.tsv`` or ``.fcsv``; cells are separated by commas, semicolons or tabs.
        frame: what the user says that the coordinates are; chooses among several triples of names.

    Raises:
        UserError: the file is missing or not text, has no points, does not say which columns are coordinates, a row has
            no three finite numbers there, or the file says that they are something else than ``frame``.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a readable CSV file") from error
    head = []
    while lines and lines[0].lstrip().startswith("#"):
        head.append(lines.pop(0))
    declared: PointsFrame | None = None
    if file.suffix.lower() == ".fcsv":
        names, delimiter = _fcsv_names(file, head), ","
        declared = _fcsv_frame(file, head)
    else:
        names, delimiter = _names(head, lines, file)
    rows = _cells(lines, delimiter, file)
    if not rows:
        raise UserError(f"{file} holds no points")
    columns, own, notes = _columns(names, rows[0], frame, file)
    own = declared or own
    if own is None and names[:4] == ["x", "y", "z", "t"]:
        if frame == "voxel":
            raise UserError(f"{file}: its columns x,y,z,t are those of ANTs, world LPS mm, but voxels are asked for")
        own = frame or "lps"
        if frame is None:
            notes.append(f"{file}: its columns x,y,z,t are taken for those of ANTs, world LPS mm")
    if frame is not None and own is not None and frame != own:
        raise UserError(f"{file}: its header says {own}, but {frame} is asked for")
    undefined = [n for n, row in enumerate(rows) if "defined" in names and _cell(row, names.index("defined")) == "0"]
    if undefined:
        notes.append(f"{file}: {len(undefined)} of {len(rows)} points are not defined and stay as they are")
    _check_width(rows, len(names) or len(rows[0]), len(head), file)
    numbers = [n for n in range(len(rows)) if n not in undefined]
    coordinates = [_numbers(rows[n], columns, n + 1 + len(head), names, file) for n in numbers]
    if not coordinates:
        raise UserError(f"{file} holds no points")
    return PointTable(head, rows, numbers, columns, np.array(coordinates), own or frame, delimiter, tuple(notes))


def _fcsv_names(file: Path, head: Sequence[str]) -> list[str]:
    columns = re.search(r"columns\s*=\s*(.+)", "\n".join(head))
    if columns is None:
        raise UserError(f"{file} is not a list of fiducials of 3D Slicer (.fcsv): it lacks the line '# columns = '")
    return [name.strip().lower() for name in columns.group(1).split(",")]


def _fcsv_frame(file: Path, head: Sequence[str]) -> PointsFrame | None:
    """Frame of a list of fiducials of Slicer; numbers until version 4.10, names since then."""
    system = re.search(r"CoordinateSystem\s*=\s*(\w+)", "\n".join(head))
    if system is not None and system.group(1) not in _FCSV_FRAMES:
        raise UserError(f"{file}: CoordinateSystem = {system.group(1)}: must be RAS (0) or LPS (1)")
    return None if system is None else _FCSV_FRAMES[system.group(1)]


def _names(head: list[str], lines: list[str], file: Path) -> tuple[list[str], str]:
    """Names of the columns, whose line is moved from ``lines`` to ``head``, and what separates cells."""
    if head:  # np.savetxt writes the names as a comment
        comment = head[-1].lstrip("# ")
        names = [cell.strip().lower() for cell in _cells([comment], _delimiter(comment), file)[0]]
        if any(set(triple) <= set(names) for triple in _TRIPLES):
            return names, _delimiter(comment)
    if not lines:
        return [], ","
    delimiter = _delimiter(lines[0])
    cells = _cells(lines[:1], delimiter, file)[0]
    if any(_is_number(cell) for cell in cells):
        return [], delimiter
    head.append(lines.pop(0))
    return [cell.strip().lower() for cell in cells], delimiter


def _delimiter(line: str) -> str:
    return next((sign for sign in ("\t", ";") if sign in line), ",")


def _cells(lines: Sequence[str], delimiter: str, file: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{file} is not a readable CSV file: {error}") from error


def _columns(
    names: Sequence[str], first: Sequence[str], frame: PointsFrame | None, file: Path
) -> tuple[Columns, PointsFrame | None, list[str]]:
    """Columns of the coordinates, the frame by their names, and notes."""
    found = [triple for triple in _TRIPLES if set(triple) <= set(names)]
    if len(found) > 1:
        # x,y,z may be world mm, but are not called so.
        allowed = (frame, None) if frame in ("ras", "lps") else (frame,)
        found = [triple for triple in found if frame is not None and _TRIPLES[triple] in allowed]
        found.sort(key=lambda triple: _TRIPLES[triple] != frame)
        if not found:
            raise UserError(f"{file}: its columns {','.join(names)} name several coordinates: points_frame must choose")
    if found:
        i, j, k = (list(names).index(name) for name in found[0])
        return (i, j, k), _TRIPLES[found[0]], []
    wanted = "name them x,y,z, r,a,s, l,p,s or i,j,k in its first row"
    if names and len(names) != 3:
        raise UserError(f"{file}: its columns {','.join(names)} do not say which are the coordinates: {wanted}")
    numeric = [column for column, cell in enumerate(first) if _is_number(cell)]
    if len(first) > 3 and len(numeric) != 3:
        raise UserError(f"{file} has {len(first)} columns without names, {len(numeric)} of them of numbers: {wanted}")
    i, j, k = numeric if len(numeric) == 3 else (0, 1, 2)
    used = f"the coordinates are taken from columns {i + 1}, {j + 1} and {k + 1}"
    if names:
        return (i, j, k), None, [f"{file}: its columns are named {','.join(names)}; {used}"]
    return (i, j, k), None, [f"{file} does not name its columns; {used}"] if len(first) > 3 else []


def _check_width(rows: Sequence[Sequence[str]], width: int, skipped: int, file: Path) -> None:
    """Check that no row has more numbers than there are columns, as with decimal commas."""
    for number, row in enumerate(rows, start=1 + skipped):
        if any(_is_number(cell) for cell in row[width:]):
            raise UserError(
                f"{file}: row {number} has {len(row)} cells, but there are {width} columns: {','.join(row)}"
            )


def _numbers(row: Sequence[str], columns: Columns, number: int, names: Sequence[str], file: Path) -> list[float]:
    try:
        values = [float(_cell(row, column)) for column in columns]
    except ValueError:
        values = []
    if len(values) == 3 and np.isfinite(values).all():
        return values
    where = ",".join(names[column] if names else str(column + 1) for column in columns)
    comma = any(re.fullmatch(r"\s*[-+]?\d+,\d+\s*", cell) for cell in row)
    hint = " (a decimal comma must be a point)" if comma else ""
    raise UserError(f"{file}: row {number} has no three finite numbers in its columns {where}: {' '.join(row)}{hint}")


def _cell(row: Sequence[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
