"""What the headers of NRRD and MetaImage files state that ITK, which reads them, leaves out.

Sources: the definition of NRRD0005 (teem.sourceforge.net/nrrd/format.html: space, space units, units), and the tags of
MetaIO (itk.org/Wiki/MetaIO/Documentation).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.headers import ITK_PROGRAMS, frame_note, unusual_sizes

_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 1e-6),
}
_UNSTATED = ("", "???", "none", "unknown")
_SPACES = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
"""Spaces of NRRD that ITK converts."""
_SPACE_TIMES = {
    **dict.fromkeys(("left-posterior-superior-time", "lpst"), np.eye(4)),
    **dict.fromkeys(("right-anterior-superior-time", "rast"), RAS_TO_LPS),
    **dict.fromkeys(("left-anterior-superior-time", "last"), np.diag([1.0, -1.0, 1.0, 1.0])),
}
"""Spaces of NRRD that ITK takes for LPS, and what converts them to it."""
_HEADER_BYTES = 2**20


def stated_frame(native: NativeGrid, path: Path) -> NativeGrid:
    """The layout of a NRRD or MetaImage in mm and RAS, with a note where ITK reads another one or assumes something.

    Args:
        native: as ITK reads the file.
        path: of the file; the layout of other formats is returned as it is.

    Raises:
        UserError: the header has numbers that are not finite, of which ITK makes others.
    """
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        to_mm, reasons = _nrrd(_fields(path, ":"))
    elif name.endswith((".mha", ".mhd")):
        fields = _fields(path, "=")
        for key in ("offset", "position", "origin", "elementspacing", "transformmatrix"):
            if re.search(r"\b(nan|inf)", fields.get(key, "").lower()):
                raise UserError(f"{path}: where its voxels lie is unknown, because its {key} is {fields[key]}")
        to_mm, reasons = _metaimage(fields, native)
    else:
        return native
    affine = to_mm @ native.affine
    reasons += unusual_sizes(np.linalg.norm(affine[:3, :3], axis=0))
    note = frame_note(str(path), reasons, affine, {ITK_PROGRAMS: native.affine}, native.shape)
    return NativeGrid(native.shape, affine, (*native.notes, *note))


def _nrrd(fields: dict[str, str]) -> tuple[NDArray[np.float64], list[str]]:
    """4x4 from the world of ITK's reading to RAS mm, and what is odd."""
    reasons = []
    space = fields.get("space", "").lower()
    flip = _SPACE_TIMES.get(space, np.eye(4))
    if space not in _SPACES and space not in _SPACE_TIMES:
        which = f"its space is {space}" if space else "it names no space"
        reasons.append(f"{which}, which is taken as left-posterior-superior")
    units = shlex.split(fields.get("space units", fields.get("units", "")))[:3]
    factors, unit_reasons = _factors(units, "space units")
    spacings = fields.get("spacings", "").split()
    if "space directions" not in fields:
        missing = [axis for axis in range(3) if axis >= len(spacings) or spacings[axis].lower() == "nan"]
        if missing:
            reasons.append(f"it states no voxel size along {len(missing)} of its axes, which is taken as 1")
    return RAS_TO_LPS @ np.diag([*factors, 1.0]) @ flip @ RAS_TO_LPS, reasons + unit_reasons


def _metaimage(fields: dict[str, str], native: NativeGrid) -> tuple[NDArray[np.float64], list[str]]:
    """As ``_nrrd``."""
    unit = fields.get("distanceunits", "")
    factors, reasons = _factors([unit] * 3 if unit else [], "DistanceUnits")
    if "elementspacing" not in fields and "elementsize" not in fields:
        reasons.append("it states no voxel size, which is taken as 1")
    letters = fields.get("anatomicalorientation", "").upper()
    lps = RAS_TO_LPS @ native.affine
    main = [(axis, lps[axis, column] > 0) for column, axis in enumerate(np.abs(lps[:3, :3]).argmax(axis=0))]
    # Letters name where an axis begins (ITK's) or where it ends.
    begins = "".join(("RL", "AP", "IS")[axis][0 if up else 1] for axis, up in main)
    ends = "".join(("RL", "AP", "IS")[axis][1 if up else 0] for axis, up in main)
    if re.fullmatch("[RLAPIS]{3}", letters) and letters not in (begins, ends):
        by = "its TransformMatrix" if "transformmatrix" in fields else "the default directions"
        reasons.append(f"its AnatomicalOrientation {letters} does not agree with {by} ({begins}), and does not count")
    return np.diag([*factors, 1.0]), reasons


def _factors(units: list[str], field: str) -> tuple[list[float], list[str]]:
    """Millimetres of the unit of each of three world axes."""
    words = [unit.strip().lower() for unit in units]
    if len(words) < 3 or all(word in (*_UNSTATED, "mm") for word in words):
        return [1.0, 1.0, 1.0], []
    factors = [_MILLIMETRES.get(word, 1.0) for word in words]
    named = ", ".join(dict.fromkeys(units))
    if not all(word in _MILLIMETRES or word in _UNSTATED for word in words):
        return factors, [f"its {field} ({named}) are no known unit of length, and are taken as mm"]
    return factors, [f"its {field} are {named}, and are converted to mm"] if factors != [1.0, 1.0, 1.0] else []


def _fields(path: Path, separator: str) -> dict[str, str]:
    """The header's "key: value" or "key = value" lines, keys in lower case."""
    with open(path, "rb") as stream:
        content = stream.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    for line in content.split(b"\n"):
        text = line.decode("utf-8", errors="replace").strip()
        if not text and separator == ":":
            break
        key, found, value = text.partition(separator)
        if found and not value.startswith("="):  # "key:=value" is a comment of NRRD
            fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    return fields
