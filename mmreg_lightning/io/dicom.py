"""DICOM images: the frames of a series, in one file each or in multi-frame files, as one volume."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.dicom_files import find_series, read_header
from mmreg_lightning.io.dicom_pixels import read_pixels

if TYPE_CHECKING:
    from pydicom import Dataset

_PARALLEL = 1e-3
"""Difference of direction cosines: 0.06 degrees, more than rounding in headers."""
_UNEVEN = 0.1
"""Of the distance of slices: how far one may lie from its place, as masks may from their images."""
_COUNTS = 1e-3
"""Of the distance of slices: a smaller deviation is rounding and not worth a note."""
_DIFFERENCES = (
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "KVP",
    "AcquisitionNumber",
)
"""What several images of one place may differ in: numbers and codes of the standard, no free text."""
_TAGS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "FrameOfReferenceUID",
    "PhotometricInterpretation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *_DIFFERENCES,
]


@dataclass(frozen=True, eq=False)
class Frame:
    """An image of one plane.

    Attributes:
        file: where it is stored.
        index: its place in the file, from 0.
        header: of the file.
        groups: functional groups that hold for this frame, its own before those of all.
        count: number of frames in the file.
    """

    file: Path
    index: int
    header: Dataset
    groups: tuple[Dataset, ...]
    count: int

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.file) if self.count == 1 else f"frame {self.index + 1} of {self.file}"

    def get(self, keyword: str) -> Any:
        """An element of the frame: of a functional group, or else of the file; None where it is not there."""
        for group in self.groups:
            for sequence in group:
                if sequence.VR == "SQ" and len(sequence.value) and keyword in sequence.value[0]:
                    return sequence.value[0][keyword].value
        return self.header.get(keyword)

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64]:
        """An element that places the frame.

        Raises:
            UserError: it is not there, or is not ``count`` finite numbers.
        """
        value = self.get(keyword)
        try:
            found = np.array([] if value is None else value, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.array([])
        if found.shape != (count,) or not np.isfinite(found).all():
            raise UserError(f"{self.name} has no usable {keyword}, so its place is unknown")
        return found


def load_dicom(path: str | os.PathLike[str], series: str | None = None) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels (X, Y, Z), X along the rows, scaled to the units of the header, and layout of a DICOM series.

    Z is the direction of the slices' normal, the spacing along it that of ImagePositionPatient. The values are those
    of ``read_pixels``.

    Args:
        path: folder, searched with the folders in it, or one file.
        series: SeriesInstanceUID, for a folder with several.

    Raises:
        UserError: see ``find_series``; or the frames are not parallel, of equal size and evenly spaced along their
            normal, several lie at one place, there is one only, or their pixels cannot be decoded.
    """
    place = Path(path)
    found = find_series(place, series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as for the headers
        frames = [frame for file in found.files for frame in _frames(file)]
        ordered, affine, notes = _stack(frames, place)
        array, more = read_pixels([(frame.file, frame.index, frame.groups) for frame in ordered], str(place))
    i, j, k = array.shape
    return array, NativeGrid((i, j, k), RAS_TO_LPS @ affine, (*found.notes, *notes, *more))


def _frames(file: Path) -> list[Frame]:
    header = read_header(file, _TAGS)
    assert header is not None, "find_series has read it"
    count = int(header.get("NumberOfFrames") or 1)
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(own) not in (0, count):
        raise UserError(f"{file} has {count} frames, but functional groups of {len(own)}")
    if count > 1 and not own:
        raise UserError(f"{file} holds {count} frames without a position of each, which is not supported")
    shared = tuple(header.get("SharedFunctionalGroupsSequence") or [])
    return [Frame(file, k, header, (*own[k : k + 1], *shared), count) for k in range(count)]


def _stack(frames: Sequence[Frame], place: Path) -> tuple[list[Frame], NDArray[np.float64], list[str]]:
    """The frames in the order of the slices, the affine (voxel to LPS mm), and what was assumed."""
    first = frames[0]
    if len(frames) == 1:
        raise UserError(f"{place} is a single DICOM slice: it must be a volume, as the folder of a series is")
    orientation, spacing = first.numbers("ImageOrientationPatient", 6), first.numbers("PixelSpacing", 2)
    if min(spacing) <= 0:
        raise UserError(f"{first.name} has the PixelSpacing {spacing.tolist()}, which is not positive")
    row, column = orientation[:3], orientation[3:]
    if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
        raise UserError(f"{first.name} has the ImageOrientationPatient {orientation.tolist()}, no two axes")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    column = np.cross(normal, row)
    for frame in frames[1:]:
        _check_alike(frame, first, orientation, spacing)
    positions = np.array([frame.numbers("ImagePositionPatient", 3) for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [frames[k] for k in order], positions[order]
    _check_single(ordered, positions @ normal, place)
    distance, worst = _even_distance(ordered, positions @ normal, place)
    along = positions - np.arange(len(frames))[:, None] * distance * normal
    shift = np.abs(along - along.mean(axis=0)).max()
    if shift > _UNEVEN * min(distance, *spacing):
        raise UserError(
            f"the slices of {place} are shifted against each other by up to {np.ptp(along, axis=0).max():.4g} mm (a "
            "tilted gantry), which other programs would straighten silently: resample the series first"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * spacing[1], column * spacing[0], normal * distance], axis=1)
    affine[:3, 3] = along.mean(axis=0) if shift > _COUNTS * distance else positions[0]
    return ordered, affine, _stack_notes(ordered, place, distance, worst)


def _check_alike(frame: Frame, first: Frame, orientation: NDArray[np.float64], spacing: NDArray[np.float64]) -> None:
    own_size, size = (f"{other.header.get('Columns')} x {other.header.get('Rows')}" for other in (frame, first))
    if own_size != size:
        raise UserError(f"{frame.name} has {own_size} pixels, but {first.name} has {size}")
    own = frame.numbers("ImageOrientationPatient", 6)
    if np.abs(own - orientation).max() > _PARALLEL:
        raise UserError(
            f"{frame.name} is not parallel to {first.name}: ImageOrientationPatient is {own.round(4).tolist()} and "
            f"{orientation.round(4).tolist()}"
        )
    side = frame.numbers("PixelSpacing", 2)
    if np.abs(side / spacing - 1).max() > _PARALLEL:
        raise UserError(f"{frame.name} has pixels of {side.tolist()} mm, but {first.name} of {spacing.tolist()} mm")


def _check_single(ordered: Sequence[Frame], heights: NDArray[np.float64], place: Path) -> None:
    """Check that no two frames lie at one place."""
    steps = np.diff(heights)
    apart = steps[steps > 1e-3]
    same = steps <= max(1e-3, 0.01 * float(np.median(apart)) if apart.size else 0.0)
    if not same.any():
        return
    at = int(np.flatnonzero(same)[0])
    # All frames of that place, and then what they differ in.
    end = at + 1
    while end < len(steps) and same[end]:
        end += 1
    group = ordered[at : end + 1]
    differ = []
    for keyword in _DIFFERENCES:
        values = list(dict.fromkeys(_shown(frame.get(keyword)) for frame in group))
        if len(values) > 1:
            differ.append(f"{keyword} ({', '.join(values[:4])}{', ...' * (len(values) > 4)})")
    what = f"they differ in {', '.join(differ)}" if differ else "their headers do not say in what they differ"
    places = len(ordered) - int(same.sum())
    raise UserError(
        f"{place} holds {len(ordered)} frames at {places} places, as {group[0].name} and {group[1].name}, of which one "
        f"each must be chosen: {what}"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return str(value)
    return "\\".join(str(part) for part in value)


def _even_distance(ordered: Sequence[Frame], heights: NDArray[np.float64], place: Path) -> tuple[float, float]:
    """The distance of neighbouring frames, and how far the worst one lies from its place, mm."""
    # A line through all of them: the first and the last position may be rounded.
    distance, start = np.polyfit(np.arange(len(ordered)), heights, 1).tolist()
    worst = float(np.abs(heights - start - distance * np.arange(len(ordered))).max())
    if worst > _UNEVEN * distance:
        steps = np.diff(heights)
        typical = float(np.median(steps))
        odd = int(np.abs(steps - typical).argmax())
        raise UserError(
            f"the slices of {place} are not evenly spaced: {ordered[odd + 1].name} is {steps[odd]:.4g} mm from the "
            f"slice before it, most are {typical:.4g} mm"
        )
    return distance, worst


def _stack_notes(ordered: Sequence[Frame], place: Path, distance: float, worst: float) -> list[str]:
    notes = []
    if worst > 0.01 * distance:
        notes.append(
            f"{place}: its slices deviate by up to {worst:.3g} mm from even distances of {distance:.4g} mm, which were "
            "taken"
        )
    declared = ordered[0].get("SpacingBetweenSlices")
    if declared is not None and abs(abs(float(declared)) - distance) > 0.01 * distance:
        notes.append(
            f"{place}: its slices lie {distance:.4g} mm apart by their positions, which count, and not as "
            f"SpacingBetweenSlices says, {float(declared):.4g} mm"
        )
    if len({str(frame.header.get("FrameOfReferenceUID", "")) for frame in ordered}) > 1:
        notes.append(f"{place}: its slices name several frames of reference; their positions were taken as of one")
    if any(frame.header.get("PhotometricInterpretation") == "MONOCHROME1" for frame in ordered):
        notes.append(f"{place}: is meant to be shown inverted (MONOCHROME1); its values are taken as they are stored")
    return notes
