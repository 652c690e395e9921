"""Reading a data set in the layout of the Learn2Reg challenge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.errors import UserError

_NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class ImageRecord:
    """One image of the data set and what belongs to it; what the data set does not provide is None.

    Attributes:
        subject: the number in the file name, as "0001" of ``NAME_0001_0000.nii.gz``.
        modality: name of the modality, as "CT".
        image, labels, mask, landmarks: paths.
    """

    subject: str
    modality: str
    image: Path
    labels: Path | None
    mask: Path | None
    landmarks: Path | None


@dataclass(frozen=True)
class PairRecord:
    """A fixed and a moving image, of one subject or of two."""

    fixed: ImageRecord
    moving: ImageRecord

    @property
    def name(self) -> str:
        """``0001_to_0002``: moving subject to fixed subject."""
        return f"{self.moving.subject}_to_{self.fixed.subject}"

    @property
    def same_subject(self) -> bool:
        """Whether both images show one subject, so that landmarks correspond."""
        return self.fixed.subject == self.moving.subject


@dataclass(frozen=True)
class Learn2RegDataset:
    """A data set folder, described by its ``NAME_dataset.json``.

    Attributes:
        root: the folder.
        description: its ``NAME_dataset.json``.
        name: NAME.
        fixed_modality, moving_modality: by ``registration_direction``.
        label_names: organ name of each label id that a modality declares, background left out.
        train: every training image; those of validation and test subjects are left out.
        pairs: fixed and moving image of each listed pair, by split (``train``, ``val``, ``test``).
    """

    root: Path
    description: Path
    name: str
    fixed_modality: str
    moving_modality: str
    label_names: Mapping[int, str]
    train: Sequence[ImageRecord]
    pairs: Mapping[str, Sequence[PairRecord]]

    @classmethod
    def read(cls, root: str | Path) -> Learn2RegDataset:
        """Read the description and check that its files exist and that no subject is in two splits.

        Training images are those of ``training_paired_images``, of ``training`` and of ``training_unpaired_images``.
        Learn2Reg writes the last two as one list, or as one for each modality (AbdomenMRCT), and lists validation
        cases there too: what belongs to a validation or test subject is left out.

        Raises:
            UserError: no folder, no or more than one ``*_dataset.json``, it is no JSON object, a key is missing or
                has a value that cannot be used, a listed file does not exist, a subject is both in validation and
                test, or the modalities give one label id different names.
        """
        root = Path(root)
        if not root.is_dir():
            raise UserError(f"data.root={root}: there is no such folder")
        found = sorted(root.glob("*dataset.json"))
        if len(found) != 1:
            raise UserError(f"data.root={root}: expected one NAME_dataset.json in it, found {len(found)}")
        path = found[0]
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, Mapping):
            raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}")
        try:
            return _read(root, path, content)
        except KeyError as error:
            raise UserError(f"{path} lacks the key {error}") from error
        except UserError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not laid out as Learn2Reg's descriptions are: {error}") from error


def check_fits(
    dataset: Learn2RegDataset, checkpoint: str | Path, modalities: Sequence[str], label_names: Mapping[int, str]
) -> None:
    """Check that a checkpoint was trained for data like these.

    Args:
        dataset: to compare on.
        checkpoint: path, for messages.
        modalities: fixed and moving modality that it was trained for.
        label_names: organ name of each label id that it was trained with.

    Raises:
        UserError: other modalities or other roles, one modality in both roles, one label id for two organs, or no
            label id in common.
    """
    own = [dataset.fixed_modality, dataset.moving_modality]
    if own != list(modalities):
        raise UserError(
            f"data set {dataset.root}: registers {own[1]} to {own[0]}, but checkpoint {checkpoint} was trained to "
            f"register {modalities[1]} to {modalities[0]}"
        )
    if own[0] == own[1]:
        raise UserError(f"data set {dataset.root}: fixed and moving modality are both {own[0]}, they must differ")
    shared = sorted(set(label_names) & set(dataset.label_names))
    for i in shared:
        if label_names[i] != dataset.label_names[i]:
            raise UserError(
                f"data set {dataset.root}: label {i} is {dataset.label_names[i]!r}, but {label_names[i]!r} in "
                f"checkpoint {checkpoint}"
            )
    if not shared:
        raise UserError(f"data set {dataset.root}: declares none of the labels of checkpoint {checkpoint}")


def _read(root: Path, path: Path, content: Mapping[str, Any]) -> Learn2RegDataset:
    modalities = {int(number): str(name) for number, name in content["modality"].items()}
    fixed, moving = _direction(path, content, modalities)

    def pairs(key: str) -> list[PairRecord]:
        return [
            PairRecord(_record(root, pair["fixed"], modalities), _record(root, pair["moving"], modalities))
            for pair in content.get(key, [])
        ]

    listed = {
        "train": pairs("training_paired_images"),
        "val": pairs("registration_val"),
        "test": pairs("registration_test"),
    }
    validation, test = _subjects(listed["val"]), _subjects(listed["test"])
    if validation & test:
        both = ", ".join(sorted(validation & test))
        raise UserError(f"{path}: subjects {both} are in both registration_val and registration_test")
    held_out = validation | test
    listed["train"] = [p for p in listed["train"] if not {p.fixed.subject, p.moving.subject} & held_out]
    images = {record.image: record for pair in listed["train"] for record in (pair.fixed, pair.moving)}
    for key in ("training", "training_unpaired_images"):
        for relative in _image_paths(content.get(key, [])):
            record = _record(root, relative, modalities)
            if record.subject not in held_out:
                images.setdefault(record.image, record)
    return Learn2RegDataset(
        root=root,
        description=path,
        name=str(content["name"]),
        fixed_modality=fixed,
        moving_modality=moving,
        label_names=_label_names(path, content.get("labels", {})),
        train=list(images.values()),
        pairs=listed,
    )


def _record(root: Path, relative: str, modalities: Mapping[int, str]) -> ImageRecord:
    image = root / relative
    stem = image.name.removesuffix(".nii.gz").removesuffix(".nii")
    parts = stem.rsplit("_", 2)
    if len(parts) != 3 or not parts[2].isdecimal() or int(parts[2]) not in modalities:
        raise UserError(
            f"{image}: a file name must end in _SUBJECT_MODALITY.nii.gz, modality one of {sorted(modalities)}"
        )
    if not image.is_file():
        raise UserError(f"{image}: listed in the data set's description, but there is no such file")
    # Learn2Reg's test images lie in imagesTs/, with labelsTs/ and so on beside it.
    part = image.parent.name.removeprefix("images")

    def beside(kind: str, suffixes: Sequence[str]) -> Path | None:
        candidates = [root / f"{kind}{part}" / f"{stem}{suffix}" for suffix in suffixes]
        return next((path for path in candidates if path.is_file()), None)

    return ImageRecord(
        subject=parts[1],
        modality=modalities[int(parts[2])],
        image=image,
        labels=beside("labels", _NIFTI),
        mask=beside("masks", _NIFTI),
        landmarks=beside("landmarks", (".csv",)),
    )


def _direction(path: Path, content: Mapping[str, Any], modalities: Mapping[int, str]) -> tuple[str, str]:
    """Fixed and moving modality; a description that does not say registers the last modality to the first."""
    direction = content.get("registration_direction", {"fixed": min(modalities), "moving": max(modalities)})
    numbers = [int(direction[role]) for role in ("fixed", "moving")]
    if not set(numbers) <= set(modalities):
        raise UserError(f"{path}: registration_direction={direction} names a modality that is none of {modalities}")
    return modalities[numbers[0]], modalities[numbers[1]]


def _label_names(path: Path, labels: Mapping[str, Any]) -> dict[int, str]:
    """Organ name of each id; Learn2Reg has a dictionary for each modality, other makers have one for all."""
    nested = [names for names in labels.values() if isinstance(names, Mapping)]
    merged: dict[int, str] = {}
    for names in nested or [labels]:
        for number, name in names.items():
            if merged.setdefault(int(number), str(name)) != name:
                raise UserError(
                    f"{path}: the label id {number} is {merged[int(number)]!r} in one modality, {name!r} in another"
                )
    merged.pop(0, None)
    return merged


def _image_paths(listed: Any) -> Iterator[str]:
    """Paths in a list of paths or of ``{"image": path}``, or in one such list for each modality."""
    for entries in listed.values() if isinstance(listed, Mapping) else [listed]:
        for entry in entries:
            yield entry["image"] if isinstance(entry, Mapping) else entry


def _subjects(pairs: Sequence[PairRecord]) -> set[str]:
    return {record.subject for pair in pairs for record in (pair.fixed, pair.moving)}
