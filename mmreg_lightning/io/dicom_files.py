"""Which files of a folder are the images of one DICOM series, and what the others are."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

_SUFFIXES = (".dcm", ".ima", ".dicom")
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a data set begins that has no preamble: with group 0002 or 0008, the latter in either byte order."""
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "Rows",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "ImagePositionPatient",
]
_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT Dose Storage",
}
"""Objects with pixels that are no images of a patient."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The files of one series.

    Attributes:
        files: those that hold images, in the order of their paths.
        notes: what else was found and ignored, full sentences.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def is_dicom_path(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a file that is DICOM by its ending or by its first bytes."""
    file = Path(path)
    return file.is_dir() or file.suffix.lower() in _SUFFIXES or _has_preamble(file)


def find_series(path: Path, series: str | None = None) -> DicomSeries:
    """The images of a series in a file or in a folder and the folders in it.

    Files that are not DICOM, objects that are no images (SR, RTSTRUCT, SEG, DICOMDIR and others), colour images,
    localisers, images without a position, and second copies of an image are left out.

    Args:
        path: folder, or a DICOM file.
        series: SeriesInstanceUID; None is the only one.

    Raises:
        UserError: there is no file, no image, no series of that UID, or several without ``series``.
    """
    if not path.exists():
        raise UserError(f"there is no file {path}")
    names = [path] if path.is_file() else _files_below(path)
    images: dict[str, dict[Path, Dataset]] = {}
    others: Counter[str] = Counter()
    known: set[str] = set()
    copies = 0
    for name in names:
        header = read_header(name, _TAGS)
        reason = "not DICOM" if header is None else _why_no_image(header)
        if header is None or reason:
            others[reason] += 1
            continue
        instance = str(header.get("SOPInstanceUID", ""))
        if instance and instance in known:
            copies += 1
            continue
        known.add(instance)
        images.setdefault(str(header.get("SeriesInstanceUID", "")), {})[name] = header
    ignored = _listed(others)
    if not images:
        what = f": it has {ignored}" if ignored else ""
        raise UserError(f"{path} holds no DICOM series of images{what}")
    chosen = _choose(path, images, series)
    notes = []
    if ignored:
        notes.append(f"{path}: besides the images of its DICOM series there is {ignored}, which is ignored")
    if copies:
        notes.append(f"{path}: {copies} of its DICOM files are second copies of an image and are ignored")
    return DicomSeries(tuple(images[chosen]), tuple(notes))


def read_header(path: Path, tags: Sequence[str]) -> Dataset | None:
    """Some elements of a DICOM file, besides its pixels; None where it is none."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    bare = False
    with warnings.catch_warnings():
        # Headers in the field break rules all the time, and the warnings would show their content.
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as stream:
                bare = stream.read(2) in _FIRST_GROUPS and not _has_preamble(path)
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags), force=bare)
            if "Rows" not in header and "SOPClassUID" not in header and not header.file_meta:
                return None
            return header
        except InvalidDicomError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        except Exception as error:  # pydicom raises whatever its parsing of a damaged file runs into
            if bare:
                return None  # its first bytes were those of DICOM by chance
            raise UserError(f"{path} is not a readable DICOM file, or is damaged") from error


def _has_preamble(file: Path) -> bool:
    try:
        with open(file, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _files_below(folder: Path) -> list[Path]:
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    return sorted(found)


def _why_no_image(header: Dataset) -> str:
    """What a DICOM file is instead of an image that can be read; empty for an image."""
    from pydicom.uid import UID

    kind = str(header.get("SOPClassUID", header.file_meta.get("MediaStorageSOPClassUID", "")))
    if kind in _DERIVED:
        return _DERIVED[kind]
    if "Rows" not in header:
        # The name is the standard's; that of a private class is its UID.
        return UID(kind).name or "DICOM without pixels"
    if header.get("SamplesPerPixel", 1) != 1 or not str(header.get("PhotometricInterpretation", "")).startswith("MONO"):
        return "colour image"
    if "LOCALIZER" in (header.get("ImageType") or []):
        return "localiser"
    if not header.get("NumberOfFrames") and not header.get("ImagePositionPatient"):
        return "image without a position"
    return ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in sorted(counts.items()))


def _choose(path: Path, images: dict[str, dict[Path, Dataset]], series: str | None) -> str:
    listed = "; ".join(
        f"{uid} ({next(iter(found.values())).get('Modality', 'no modality')}, "
        f"{str(next(iter(found.values())).get('SeriesDescription', '')).strip() or 'no description'!r}, "
        f"{len(found)} file{'s' * (len(found) != 1)})"
        for uid, found in sorted(images.items())
    )
    if series is not None:
        if series not in images:
            raise UserError(f"series={series}: {path} holds no such DICOM series of images, it has {listed}")
        return series
    if len(images) > 1:
        raise UserError(
            f"{path} holds {len(images)} DICOM series, choose one by its UID (--series, --fixed-series or "
            f"--moving-series): {listed}"
        )
    return next(iter(images))
