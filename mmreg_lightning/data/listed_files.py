"""The images that a data set's description lists, and the files that belong to each by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmreg_lightning.data.labelling import DeclaredLabels
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError

_NIFTI = (".nii.gz", ".nii")


class ListedImage(NamedTuple):
    """An image as the description lists it; ``labelled`` is None where the entry does not say."""

    image: Path
    labelled: Sequence[str] | None


def listed_image(root: Path, entry: Any) -> ListedImage:
    """Of a path, or of ``{"image": path, "labelled": [names]}``.

    Raises:
        UserError: ``labelled`` is no list.
    """
    if not isinstance(entry, Mapping):
        return ListedImage(root / entry, None)
    labelled = entry.get("labelled")
    if labelled is not None and (isinstance(labelled, str) or not isinstance(labelled, Sequence)):
        raise UserError(f"{root / entry['image']}: labelled={labelled!r} must be a list of organ names")
    return ListedImage(root / entry["image"], labelled)


def image_files(
    root: Path, listed: Sequence[ListedImage], modalities: Mapping[int, str], labels: DeclaredLabels
) -> dict[Path, ImageFiles]:
    """The files of every listed image.

    Args:
        root: folder of the data set.
        listed: all of its entries.
        modalities: name of each number.
        labels: what the ids of label maps mean.

    Raises:
        UserError: a file does not exist or its name cannot be understood, an image is listed twice with other organs
            ``labelled``, or see ``DeclaredLabels.of``.
    """
    stems = {one.image: _stem(one.image, modalities) for one in listed}
    shared = len({stem.rsplit("_", 2)[0] for stem in stems.values()}) == 1
    labelled: dict[Path, Sequence[str] | None] = {}
    for one in listed:
        known = labelled.get(one.image)
        if None not in (known, one.labelled) and sorted(known or ()) != sorted(one.labelled or ()):
            raise UserError(f"{one.image}: is listed twice, with labelled={known} and labelled={one.labelled}")
        labelled[one.image] = one.labelled if known is None else known
    records = {}
    for image, stem in stems.items():
        subject, _, number = stem.rpartition("_")
        modality = modalities[int(number)]
        records[image] = ImageFiles(
            subject=subject.rpartition("_")[2] if shared else subject,
            modality=modality,
            image=image,
            labels=_beside(root, image, stem, "labels", _NIFTI),
            mask=_beside(root, image, stem, "masks", _NIFTI),
            landmarks=_beside(root, image, stem, "landmarks", (".csv",)),
            labelling=labels.of(modality, image, labelled[image]),
        )
    return records


def _stem(image: Path, modalities: Mapping[int, str]) -> str:
    """The image's name without its suffix, checked."""
    stem = image.name.removesuffix(".nii.gz").removesuffix(".nii")
    parts = stem.rsplit("_", 2)
    if len(parts) != 3 or not parts[2].isdecimal() or int(parts[2]) not in modalities:
        raise UserError(
            f"{image}: a file name must end in _SUBJECT_MODALITY.nii.gz, modality one of {sorted(modalities)}"
        )
    if not image.is_file():
        raise UserError(f"{image}: listed in the data set's description, but there is no such file")
    return stem


def _beside(root: Path, image: Path, stem: str, kind: str, suffixes: Sequence[str]) -> Path | None:
    """What belongs to an image; test images lie in imagesTs/, with labelsTs/ and so on beside it."""
    folder = root / f"{kind}{image.parent.name.removeprefix('images')}"
    candidates = [folder / f"{stem}{suffix}" for suffix in suffixes]
    return next((path for path in candidates if path.is_file()), None)
