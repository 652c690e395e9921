"""Images and pairs: as files, in memory, or as anything else that comes in twos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.data.labelling import Labelling
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.placement import place_on
from mmreg_lightning.geometry.volume import Volume, check_same_grid
from mmreg_lightning.io.images import read_image, read_labels, read_mask
from mmreg_lightning.io.point_tables import read_point_table

T = TypeVar("T")
S = TypeVar("S")
PARTS = ("labels", "landmarks", "mask")
"""What an image may have besides its voxels."""
FILE_NAMES = ("fixed", "moving", *(f"{role}_{part}" for part in PARTS for role in ("fixed", "moving")))
"""Every file that a pair may have, as options, columns and run.yaml name them."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image in memory. Labels and landmarks are for scoring only: a registration never uses them.

    Attributes:
        volume: (1, I, J, K), intensities as in the file.
        labels: (1, I, J, K) integers on the same grid.
        mask: (1, I, J, K), 0 or 1, on the same grid; what lies outside it is ignored.
        landmarks: (N, 3), voxels of the RAS+ grid.
        modality: name, as "CT"; empty where nobody names it.
        straight: the image was resampled, because its own grid is sheared; see ``straight_image``.

    Raises:
        UserError: labels or mask are on another grid than the image.
    """

    volume: Volume
    labels: Volume | None = None
    mask: Volume | None = None
    landmarks: NDArray[np.float64] | None = None
    modality: str = ""
    straight: bool = False

    def __post_init__(self) -> None:
        for other in (self.labels, self.mask):
            if other is not None:
                check_same_grid(other, self.volume)

    @property
    def notes(self) -> list[str]:
        """What was assumed when the files were read, one sentence each."""
        parts = [part for part in (self.volume, self.labels, self.mask) if part is not None]
        return list(dict.fromkeys(note for part in parts for note in part.native.notes))


@dataclass(frozen=True)
class ImageFiles:
    """Paths of an image and of what belongs to it; None is not there.

    Attributes:
        image: see ``read_image``; a folder is a DICOM series.
        labels: label map on the grid of the image.
        landmarks: CSV, rows "i,j,k" in voxels of the image file.
        mask: on the grid of the image; values other than 0 are inside.
        modality: name, as "CT"; empty where nobody names it.
        subject: whose image it is, as "0001"; landmarks correspond within a subject.
        labelling: what the ids of the label map mean; None takes them as they are.
        series: SeriesInstanceUID of the image, where it is a folder with several DICOM series.
    """

    image: Path
    labels: Path | None = None
    landmarks: Path | None = None
    mask: Path | None = None
    modality: str = ""
    subject: str = ""
    labelling: Labelling | None = None
    series: str | None = None

    def label_map(self) -> Volume | None:
        """The label map with the data set's ids: (1, I, J, K) on the file's own grid; None without one.

        Raises:
            UserError: see ``read_labels``; or it holds an id that the data set does not declare.
        """
        if self.labels is None:
            return None
        labels = read_labels(self.labels)
        return labels if self.labelling is None else self.labelling.apply(labels)

    def read(self, place: bool = False) -> Image:
        """Read all files.

        Args:
            place: put labels and mask that lie on another grid of the same frame onto that of the image, with a note;
                see ``place_on``.

        Raises:
            UserError: a file cannot be used, labels or mask are not on the grid of the image, the mask is empty, a
                label id is not declared, or a landmark lies outside the image.
        """
        volume = read_image(self.image, self.series)
        labels = self.label_map()
        mask = None if self.mask is None else read_mask(self.mask)
        if place:
            labels, mask = (None if part is None else place_on(part, volume) for part in (labels, mask))
        landmarks = None if self.landmarks is None else read_landmarks(self.landmarks, volume)
        return Image(volume, labels, mask, landmarks, self.modality)


@dataclass(frozen=True)
class Pair(Generic[T]):
    """What there is of the fixed image, and the same of the moving image: images, files, features."""

    fixed: T
    moving: T

    def __iter__(self) -> Iterator[T]:
        return iter((self.fixed, self.moving))

    def map(self, function: Callable[[T], S]) -> Pair[S]:
        """The function's values for both."""
        return Pair(function(self.fixed), function(self.moving))

    @property
    def name(self: Pair[ImageFiles]) -> str:
        """``0001_to_0002``: moving subject to fixed subject."""
        return f"{self.moving.subject}_to_{self.fixed.subject}"

    @property
    def same_subject(self: Pair[ImageFiles]) -> bool:
        """Whether both images show one subject, so that landmarks correspond."""
        return self.fixed.subject == self.moving.subject

    def files(self: Pair[ImageFiles]) -> dict[str, Path]:
        """The files that a registration of the pair reads, by the names of ``FILE_NAMES``."""
        roles = dict(zip(("fixed", "moving"), self.map(self._comparable), strict=True))
        found = {role: files.image for role, files in roles.items()}
        found |= {f"{role}_{part}": getattr(files, part) for part in PARTS for role, files in roles.items()}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def series(self: Pair[ImageFiles]) -> dict[str, str]:
        """The DICOM series that are chosen, by ``fixed`` and ``moving``."""
        chosen = {"fixed": self.fixed.series, "moving": self.moving.series}
        return {role: uid for role, uid in chosen.items() if uid is not None}

    def scorable(self: Pair[ImageFiles]) -> Pair[ImageFiles]:
        """Without what could not be scored: labels of the fixed image alone, and landmarks of one image alone.

        Moving labels alone stay, they are warped; so do masks, which are not for scoring.
        """
        fixed, moving = self.map(self._comparable)
        labels = fixed.labels if moving.labels is not None else None
        both = fixed.landmarks is not None and moving.landmarks is not None
        return Pair(
            dataclasses.replace(fixed, labels=labels, landmarks=fixed.landmarks if both else None),
            dataclasses.replace(moving, landmarks=moving.landmarks if both else None),
        )

    @property
    def labelled(self: Pair[ImageFiles]) -> bool:
        """Whether both images have label maps."""
        return self.fixed.labels is not None and self.moving.labels is not None

    def read(self: Pair[ImageFiles], place: bool = False) -> Pair[Image]:
        """Read all files; landmarks only where they correspond, which is within one subject.

        Args:
            place: see ``ImageFiles.read``.

        Raises:
            UserError: see ``ImageFiles.read`` and ``check_pair``.
        """
        files = self.map(self._comparable)
        # The moving labels may come alone: they are warped.
        needs = [("fixed", "labels", "moving"), ("fixed", "landmarks", "moving"), ("moving", "landmarks", "fixed")]
        for role, part, other in needs:
            given = getattr(getattr(files, role), part)
            if given is not None and getattr(getattr(files, other), part) is None:
                raise UserError(f"{role}_{part}={given}: the {part} of the {other} image must be given, too")
        pair = files.map(lambda own: own.read(place))
        check_pair(pair)
        return pair

    def _comparable(self: Pair[ImageFiles], files: ImageFiles) -> ImageFiles:
        return files if self.same_subject else dataclasses.replace(files, landmarks=None)


def check_pair(pair: Pair[Image]) -> None:
    """Check that a pair can be scored with the labels and landmarks that it has.

    Raises:
        UserError: both label maps share no organ, or the lists of landmarks differ in length.
    """
    fixed, moving = pair
    if fixed.labels is not None and moving.labels is not None:
        own = [set(labels.label_ids) for labels in (fixed.labels, moving.labels)]
        if not own[0] & own[1]:
            first, second = (
                labels.path or f"the {role} labels"
                for labels, role in ((fixed.labels, "fixed"), (moving.labels, "moving"))
            )
            raise UserError(
                f"{first} and {second} share no organ: they hold the labels {sorted(own[0])} and {sorted(own[1])}"
            )
    if fixed.landmarks is not None and moving.landmarks is not None:
        counts = len(fixed.landmarks), len(moving.landmarks)
        if counts[0] != counts[1]:
            names = [image.volume.path or f"the {role} image" for image, role in ((fixed, "fixed"), (moving, "moving"))]
            raise UserError(f"{names[0]} has {counts[0]} landmarks, but {names[1]} has {counts[1]}")


def read_landmarks(path: Path, image: Volume) -> NDArray[np.float64]:
    """Landmarks of a CSV of voxels of the image file, (N, 3) in voxels of the RAS+ grid.

    Raises:
        UserError: the file cannot be used, or a point lies outside the image.
    """
    return canonical_landmarks(read_point_table(path, "voxel").coordinates, image, str(path))


def canonical_landmarks(points: NDArray[np.float64], image: Volume, name: str) -> NDArray[np.float64]:
    """Points (N, 3) in voxels of the image's file, in voxels of its RAS+ grid; ``name`` is for messages.

    Raises:
        UserError: a point lies outside the image.
    """
    outside = ((points < -1) | (points > np.array(image.native.shape))).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise UserError(
            f"{name}: row {row + 1}, {points[row].tolist()}, lies outside its image of {image.native.shape} voxels"
        )
    return image.native.points_to_canonical(points)
