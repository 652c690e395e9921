"""Markups of 3D Slicer (.mrk.json): points, lines, curves, planes, regions of interest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import write_json
from mmreg_lightning.geometry.frames import RAS_TO_LPS, transform_points

_FRAMES = {"LPS": "lps", "1": "lps", "RAS": "ras", "0": "ras"}
_UNDEFINED = ("undefined", "preview", "missing")
_KEPT = ("orientation", "size", "normal", "planeBounds", "baseToNode")


class _Place(NamedTuple):
    """A position in the file: world mm, the frame's matrix to RAS, and what puts another in its stead."""

    position: list[float]
    to_ras: NDArray[np.float64]
    put: Callable[[list[float]], None]


def read_markups(
    file: Path, frame: str | None = None
) -> tuple[NDArray[np.float64], Callable[[NDArray[np.float64], Path], None], tuple[str, ...]]:
    """Read the positions of all control points that are defined, and the centres of planes and regions of interest.

    Args:
        file: .mrk.json; each markup names its frame, LPS by default.
        frame: ``ras`` or ``lps``, what the user says; None takes what the file says.

    Returns:
        Points (N, 3), world RAS mm; what writes a copy of the file with other points; and what was assumed.

    Raises:
        UserError: the file is damaged, has no positions or some that are not finite, or says another frame or unit.
    """
    places: list[_Place] = []
    skipped = 0
    kept: set[str] = set()
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        for node in content["markups"]:
            to_ras = _frame(node, file, frame)
            for point in node.get("controlPoints", []):
                if not point.get("position") or point.get("positionStatus", "defined") in _UNDEFINED:
                    skipped += 1
                    continue
                places.append(_Place(point["position"], to_ras, _putter(point, "position")))
            places += [_Place(node[key], to_ras, _putter(node, key)) for key in ("center", "origin") if node.get(key)]
            if node.get("baseToNode"):
                matrix = node["baseToNode"]
                places.append(_Place([matrix[3], matrix[7], matrix[11]], to_ras, _column_putter(matrix)))
            kept |= {key for key in _KEPT if node.get(key)}
        positions = np.array([place.position for place in places], dtype=np.float64).reshape(-1, 3)
    except UserError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{file} is not a markups file of 3D Slicer (.mrk.json), or is damaged") from error
    if not places or not np.isfinite(positions).all():
        raise UserError(f"{file} holds no points, or points that are not finite")
    notes = []
    if skipped:
        notes.append(f"{file}: {skipped} control points have no defined position and stay as they are")
    if kept:
        notes.append(
            f"{file}: positions are mapped, but {', '.join(sorted(kept))} of its planes or boxes keep their axes"
        )

    def write(points: NDArray[np.float64], out: Path) -> None:
        for place, point in zip(places, points, strict=True):
            place.put(transform_points(np.linalg.inv(place.to_ras), point).tolist())
        write_json(out, content)

    ras = [transform_points(place.to_ras, point) for place, point in zip(places, positions, strict=True)]
    return np.stack(ras), write, tuple(notes)


def _frame(node: dict[str, Any], file: Path, frame: str | None) -> NDArray[np.float64]:
    """4x4, positions of a markup to world RAS mm."""
    system = str(node.get("coordinateSystem", "LPS"))
    if system not in _FRAMES:
        raise UserError(f"{file}: coordinateSystem {system}: must be RAS or LPS")
    if frame is not None and frame != _FRAMES[system]:
        raise UserError(f"{file}: its coordinateSystem is {system}, but {frame} is asked for")
    units = node.get("coordinateUnits", "mm")
    if (units[0] if isinstance(units, list) and units else units) != "mm":
        raise UserError(f"{file}: coordinateUnits {units}: must be mm")
    return RAS_TO_LPS if _FRAMES[system] == "lps" else np.eye(4)


def _putter(holder: dict[str, Any], key: str) -> Callable[[list[float]], None]:
    return lambda position: holder.__setitem__(key, position)


def _column_putter(matrix: list[float]) -> Callable[[list[float]], None]:
    """Sets the last column of a 4x4 matrix, a list of its rows."""

    def put(position: list[float]) -> None:
        matrix[3:12:4] = position

    return put
