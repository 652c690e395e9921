"""Reading a data set in the layout of the Learn2Reg challenge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError, positive_int

_NIFTI = (".nii.gz", ".nii")
Files = Pair[ImageFiles]
"""A listed pair."""


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
    train: Sequence[ImageFiles]
    pairs: Mapping[str, Sequence[Files]]

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

    def check_fits(self, checkpoint: str | Path, modalities: Sequence[str], label_names: Mapping[int, str]) -> None:
        """Check that a checkpoint was trained for data like these.

        Args:
            checkpoint: path, for messages.
            modalities: fixed and moving modality that it was trained for.
            label_names: organ name of each label id that it was trained with.

        Raises:
            UserError: other modalities or other roles, one modality in both roles, one label id for two organs, or no
                label id in common.
        """
        own = [self.fixed_modality, self.moving_modality]
        if own != list(modalities):
            raise UserError(
                f"data set {self.root}: registers {own[1]} to {own[0]}, but checkpoint {checkpoint} was trained to "
                f"register {modalities[1]} to {modalities[0]}"
            )
        if own[0] == own[1]:
            raise UserError(f"data set {self.root}: fixed and moving modality are both {own[0]}, they must differ")
        shared = sorted(set(label_names) & set(self.label_names))
        for i in shared:
            if label_names[i] != self.label_names[i]:
                raise UserError(
                    f"data set {self.root}: label {i} is {self.label_names[i]!r}, but {label_names[i]!r} in "
                    f"checkpoint {checkpoint}"
                )
        if not shared:
            raise UserError(f"data set {self.root}: declares none of the labels of checkpoint {checkpoint}")

    def select(self, split: str, count: int | None, key: str, everything: bool = False) -> list[Files]:
        """The first pairs of two subjects in a split; pairs of one subject where there are no others.

        Args:
            split: ``train``, ``val`` or ``test``.
            count: at most so many; None is all.
            key: what the pairs are for, for messages.
            everything: include pairs of one subject.

        Raises:
            UserError: there is no such split, it is empty, or see ``check_labelled``.
        """
        if split not in self.pairs:
            raise UserError(f"{key}.split={split}: must be one of {', '.join(self.pairs)}")
        pairs = list(self.pairs[split])
        chosen = pairs if everything else [pair for pair in pairs if not pair.same_subject] or pairs
        if count is not None:
            chosen = chosen[: positive_int(f"{key}.pairs", count)]
        if not chosen:
            raise UserError(f"{self.description} lists no pairs of the split {split!r} ({key}.split)")
        self.check_labelled(chosen)
        return chosen

    def check_labelled(self, pairs: Sequence[Files]) -> None:
        """Check that pairs are of the data set's modalities in their roles, and have labels to score with.

        Raises:
            UserError: one is not, or has none.
        """
        roles = (("fixed", self.fixed_modality), ("moving", self.moving_modality))
        for pair in pairs:
            for files, (role, expected) in zip(pair, roles, strict=True):
                if files.modality != expected:
                    raise UserError(
                        f"{files.image}: the {role} image of a pair is {files.modality}, not {expected} as "
                        f"{self.description.name} says"
                    )
                if files.labels is None:
                    raise UserError(f"{files.image}: an image without labels cannot be compared on")


def _read(root: Path, path: Path, content: Mapping[str, Any]) -> Learn2RegDataset:
    modalities = {int(number): str(name) for number, name in content["modality"].items()}
    fixed, moving = _direction(path, content, modalities)

    def pairs(key: str) -> list[Files]:
        return [
            Pair(_record(root, pair["fixed"], modalities), _record(root, pair["moving"], modalities))
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
    listed["train"] = [p for p in listed["train"] if not _subjects([p]) & held_out]
    images = {files.image: files for pair in listed["train"] for files in pair}
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


def _record(root: Path, relative: str, modalities: Mapping[int, str]) -> ImageFiles:
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

    return ImageFiles(
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


def _subjects(pairs: Sequence[Files]) -> set[str]:
    return {files.subject for pair in pairs for files in pair}
