"""Reading a data set in the layout of the Learn2Reg challenge."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmreg_lightning.data.labelling import DeclaredLabels
from mmreg_lightning.data.listed_files import image_files, listed_image
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError, positive_int

log = logging.getLogger(__name__)
_PAIRS = {"train": "training_paired_images", "val": "registration_val", "test": "registration_test"}
_IMAGES = ("training", "training_unpaired_images")
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
        label_names: name of each organ, by the one id that it has in label maps as ``ImageFiles`` reads them.
        train: every training image; those of validation and test subjects are left out.
        pairs: fixed and moving image of each listed pair, by split (``train``, ``val``, ``test``).
        held_out: images that are listed for training, but are of validation and test subjects.
    """

    root: Path
    description: Path
    name: str
    fixed_modality: str
    moving_modality: str
    label_names: Mapping[int, str]
    train: Sequence[ImageFiles]
    pairs: Mapping[str, Sequence[Files]]
    held_out: Sequence[ImageFiles] = ()

    @classmethod
    def read(cls, root: str | Path, option: str = "data.root") -> Learn2RegDataset:
        """Read the description and check that its files exist and that no subject is in two splits.

        Training images are those of ``training_paired_images``, of ``training`` and of ``training_unpaired_images``.
        Learn2Reg writes the last two as one list, or as one for each modality (AbdomenMRCT), and lists validation
        cases there too: what belongs to a validation or test subject is left out.

        A subject is what the image's name holds before the modality, without the NAME that all images share. Organs
        are matched by name, see ``DeclaredLabels``. An image whose label map does not hold all of them is listed as
        ``{"image": path, "labelled": [names]}`` in one of the lists.

        Args:
            root: the folder.
            option: what the caller calls it, for messages.

        Raises:
            UserError: no folder, no or more than one ``*_dataset.json``, it is no JSON object, a key is missing or
                has a value that cannot be used, a listed file does not exist, a subject is both in validation and
                test, or ``labels`` or ``labelled`` cannot be used, see ``DeclaredLabels``.
        """
        root = Path(root)
        if not root.is_dir():
            raise UserError(f"{option}={root}: there is no such folder")
        found = sorted(root.glob("*dataset.json"))
        if len(found) != 1:
            raise UserError(f"{option}={root}: expected one NAME_dataset.json in it, found {len(found)}")
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
            UserError: other modalities or other roles, one modality in both roles, or no organ in common.
        """
        own = [self.fixed_modality, self.moving_modality]
        if own != list(modalities):
            raise UserError(
                f"data set {self.root}: registers {own[1]} to {own[0]}, but checkpoint {checkpoint} was trained to "
                f"register {modalities[1]} to {modalities[0]}"
            )
        if own[0] == own[1]:
            raise UserError(f"data set {self.root}: fixed and moving modality are both {own[0]}, they must differ")
        if not self.organs(label_names.values()):
            raise UserError(f"data set {self.root}: declares none of the labels of checkpoint {checkpoint}")

    def organs(self, names: Iterable[str]) -> dict[int, str]:
        """Those of ``label_names`` that are among ``names``, in the order of these."""
        own = {name: i for i, name in self.label_names.items()}
        return {own[name]: name for name in names if name in own}

    def map_files(self, function: Callable[[ImageFiles], ImageFiles]) -> Learn2RegDataset:
        """The data set with every image's files changed."""
        return replace(
            self,
            train=[function(files) for files in self.train],
            pairs={split: [pair.map(function) for pair in pairs] for split, pairs in self.pairs.items()},
            held_out=[function(files) for files in self.held_out],
        )

    def select(
        self,
        split: str,
        count: int | None,
        key: str,
        everything: bool = False,
        options: Sequence[str] = ("tuning.split", "report.split"),
    ) -> list[Files]:
        """The first labelled pairs of two subjects in a split; pairs of one subject where there are no others.

        Args:
            split: ``train``, ``val`` or ``test``.
            count: at most so many; None is all.
            key: what the pairs are for, for messages.
            everything: include pairs of one subject.
            options: what the caller calls the splits, see ``check_labelled``.

        Raises:
            UserError: there is no such split; or see ``check_labelled`` and ``check_roles``.
        """
        if split not in self.pairs:
            raise UserError(f"{key}.split={split}: must be one of {', '.join(self.pairs)}")
        pairs = self.check_labelled(split, options)
        chosen = pairs if everything else [pair for pair in pairs if not pair.same_subject] or pairs
        if count is not None:
            chosen = chosen[: positive_int(f"{key}.pairs", count)]
        self.check_roles(chosen)
        return chosen

    def check_labelled(self, split: str, options: Sequence[str]) -> list[Files]:
        """The pairs of a split that have labels to score with; one line of the log says how many have none.

        Args:
            split: ``train``, ``val`` or ``test``.
            options: what the caller calls the splits that it learns from and reports on, as ``tuning.split`` and
                ``report.split``; the message names a way out by them.

        Raises:
            UserError: no pair of the split is listed, or none has labels.
        """
        pairs = self.pairs[split]
        if not pairs:
            raise UserError(
                f"{self.description} lists no pairs of the split {split!r}{self._way_out(options, ': take ')}"
            )
        bare = [pair for pair in pairs if not pair.labelled]
        if bare:
            image = next(files.image for files in bare[0] if files.labels is None)
            count = f"{len(bare)} of the {len(pairs)} pairs of the split {split!r}"
            if len(bare) == len(pairs):
                way = self._way_out(options, ": where they are withheld, take ")
                raise UserError(f"{image}: an image without labels, as in {count}{way}")
            log.warning("without labels, left out: %s, the first for %s", count, image)
        return [pair for pair in pairs if pair.labelled]

    def _way_out(self, options: Sequence[str], words: str) -> str:
        """What to choose instead: splits with labels, the words before it; nothing where there are none."""
        known = [name for name in ("train", "val", "test") if any(pair.labelled for pair in self.pairs[name])]
        if len(known) > 1:
            return words + " ".join(f"{option}={name}" for option, name in zip(options, known, strict=False))
        return f"{words}{options[-1]}={known[0]}" if known else ""

    def check_roles(self, pairs: Sequence[Files]) -> None:
        """Check that pairs are of the data set's modalities in their roles.

        Raises:
            UserError: one is not.
        """
        roles = (("fixed", self.fixed_modality), ("moving", self.moving_modality))
        for pair in pairs:
            for files, (role, expected) in zip(pair, roles, strict=True):
                if files.modality != expected:
                    raise UserError(
                        f"{files.image}: the {role} image of a pair is {files.modality}, not {expected} as "
                        f"{self.description.name} says"
                    )


def _read(root: Path, path: Path, content: Mapping[str, Any]) -> Learn2RegDataset:
    modalities = {int(number): str(name) for number, name in content["modality"].items()}
    fixed, moving = _direction(path, content, modalities)
    labels = DeclaredLabels.read(path, content.get("labels", {}), modalities, fixed)
    pairs = {
        split: [
            Pair(listed_image(root, pair["fixed"]), listed_image(root, pair["moving"])) for pair in content.get(key, [])
        ]
        for split, key in _PAIRS.items()
    }
    alone = [listed_image(root, entry) for key in _IMAGES for entry in _entries(content.get(key, []))]
    everything = [*(image for own in pairs.values() for pair in own for image in pair), *alone]
    records = image_files(root, everything, modalities, labels)
    listed = {split: [pair.map(lambda one: records[one.image]) for pair in own] for split, own in pairs.items()}
    validation, test = _subjects(listed["val"]), _subjects(listed["test"])
    if validation & test:
        both = ", ".join(sorted(validation & test))
        raise UserError(f"{path}: subjects {both} are in both registration_val and registration_test")
    held_out = validation | test
    # Each once: those of the pairs, then the others.
    images = dict.fromkeys([*(files for pair in listed["train"] for files in pair), *(records[e.image] for e in alone)])
    listed["train"] = [p for p in listed["train"] if not _subjects([p]) & held_out]
    return Learn2RegDataset(
        root=root,
        description=path,
        name=str(content["name"]),
        fixed_modality=fixed,
        moving_modality=moving,
        label_names=labels.names,
        train=[files for files in images if files.subject not in held_out],
        pairs=listed,
        held_out=[files for files in images if files.subject in held_out],
    )


def _direction(path: Path, content: Mapping[str, Any], modalities: Mapping[int, str]) -> tuple[str, str]:
    """Fixed and moving modality; a description that does not say registers the last modality to the first."""
    direction = content.get("registration_direction", {"fixed": min(modalities), "moving": max(modalities)})
    numbers = [int(direction[role]) for role in ("fixed", "moving")]
    if not set(numbers) <= set(modalities):
        raise UserError(f"{path}: registration_direction={direction} names a modality that is none of {modalities}")
    return modalities[numbers[0]], modalities[numbers[1]]


def _entries(listed: Any) -> Iterator[Any]:
    """Entries of one list, or of a list for each modality."""
    for entries in listed.values() if isinstance(listed, Mapping) else [listed]:
        yield from entries


def _subjects(pairs: Sequence[Files]) -> set[str]:
    return {files.subject for pair in pairs for files in pair}
