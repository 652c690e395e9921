"""The files of one pair, read and checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.volume import Volume, check_same_grid
from mmreg_lightning.io.images import read_image, read_labels, read_mask
from mmreg_lightning.io.points import read_point_table


@dataclass(frozen=True)
class PairFiles:
    """Paths of a pair. Labels and landmarks are for scoring only, the registration never sees them.

    Attributes:
        fixed, moving: images, see ``read_image``; a folder is a DICOM series.
        fixed_labels, moving_labels: label maps on the grids of their images, with the same meaning of each id. The
            moving ones are warped, too, and may come alone.
        fixed_mask, moving_mask: on the grids of their images; what lies outside is not looked at.
        fixed_landmarks, moving_landmarks: CSV, rows "i,j,k" in voxels of the image file, row by row the same places.
    """

    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None

    def named(self) -> dict[str, Path]:
        """The files that are given, by the name of their field."""
        paths = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: path for name, path in paths.items() if path is not None}


@dataclass(frozen=True)
class PairData:
    """What ``PairFiles`` holds.

    Attributes:
        fixed, moving: images.
        labels: label maps of both.
        landmarks: (N, 3) of both, in voxels of the RAS+ grid of their image.
        moving_labels: to be warped; those of ``labels`` where there are both.
        masks: of both, (1, I, J, K), 0 or 1.
    """

    fixed: Volume
    moving: Volume
    labels: tuple[Volume, Volume] | None = None
    landmarks: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    moving_labels: Volume | None = None
    masks: tuple[Volume | None, Volume | None] = (None, None)


def pair_files(pair: PairRecord) -> PairFiles:
    """The files of a pair of a data set; landmarks where they correspond, which is within one subject."""
    f, m = pair.fixed, pair.moving
    landmarks = (f.landmarks, m.landmarks) if pair.same_subject else (None, None)
    return PairFiles(f.image, m.image, f.labels, m.labels, *landmarks)


def read_pair(files: PairFiles) -> PairData:
    """Read all files of a pair.

    Raises:
        UserError: a file cannot be used, fixed labels are given without moving ones, landmarks for one image only,
            labels or masks are not on the grid of their image, labels share no organ, a mask is empty, or the landmark
            files differ in length.
    """
    if files.moving_labels is None:
        both_or_neither("--fixed-labels", files.fixed_labels, "--moving-labels", files.moving_labels)
    both_or_neither("--fixed-landmarks", files.fixed_landmarks, "--moving-landmarks", files.moving_landmarks)
    fixed, moving = read_image(files.fixed), read_image(files.moving)
    masks = tuple(None if path is None else read_mask(path) for path in (files.fixed_mask, files.moving_mask))
    labels = tuple(None if path is None else read_labels(path) for path in (files.fixed_labels, files.moving_labels))
    return checked_pair(fixed, moving, (labels[0], labels[1]), (masks[0], masks[1]), _landmarks(files, fixed, moving))


def checked_pair(
    fixed: Volume,
    moving: Volume,
    labels: tuple[Volume | None, Volume | None] = (None, None),
    masks: tuple[Volume | None, Volume | None] = (None, None),
    landmarks: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> PairData:
    """A pair of what was read or given in memory.

    Args:
        fixed, moving: images.
        labels, masks: of both; the moving labels may come alone.
        landmarks: see ``PairData``.

    Raises:
        UserError: labels or masks are not on the grid of their image, or labels share no organ.
    """
    for pair in (labels, masks):
        for volume, image in zip(pair, (fixed, moving), strict=True):
            if volume is not None:
                check_same_grid(volume, image)
    both = None
    if labels[0] is not None and labels[1] is not None:
        both = (labels[0], labels[1])
        a, b = (set(volume.label_ids) for volume in both)
        if not a & b:
            named = [
                volume.path or f"the {role} labels" for volume, role in zip(both, ("fixed", "moving"), strict=True)
            ]
            raise UserError(
                f"{named[0]} and {named[1]} share no organ: they hold the labels {sorted(a)} and {sorted(b)}"
            )
    return PairData(fixed, moving, both, landmarks, labels[1], masks)


def both_or_neither(first: str, first_value: object, second: str, second_value: object) -> None:
    """Check two options that need each other.

    Raises:
        UserError: one of them is None, the other is not.
    """
    if (first_value is None) != (second_value is None):
        given, value, missing = (second, second_value, first) if first_value is None else (first, first_value, second)
        raise UserError(f"{given} {value} is given without {missing}")


def _landmarks(
    files: PairFiles, fixed: Volume, moving: Volume
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if files.fixed_landmarks is None or files.moving_landmarks is None:
        return None
    a, b = (read_point_table(path).coordinates for path in (files.fixed_landmarks, files.moving_landmarks))
    if len(a) != len(b):
        raise UserError(f"{files.fixed_landmarks} has {len(a)} landmarks, but {files.moving_landmarks} has {len(b)}")
    for path, points, image in ((files.fixed_landmarks, a, fixed), (files.moving_landmarks, b, moving)):
        outside = ((points < -1) | (points > np.array(image.native.shape))).any(axis=1)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise UserError(
                f"{path}: row {row + 1}, {points[row].tolist()}, lies outside its image of {image.native.shape} voxels"
            )
    return fixed.native.points_to_canonical(a), moving.native.points_to_canonical(b)
