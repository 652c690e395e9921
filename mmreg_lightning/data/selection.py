"""What of a data set a training uses, and what it leaves out."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Sequence

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError


def select_organs(dataset: Learn2RegDataset, organs: Sequence[str] | None) -> dict[int, str]:
    """Ids and names of the organs to learn from; None is all.

    Raises:
        UserError: the data set has no such organ.
    """
    if organs is None:
        return dict(dataset.label_names)
    unknown = [name for name in organs if name not in dataset.label_names.values()]
    if unknown:
        names = list(dataset.label_names.values())
        near = difflib.get_close_matches(unknown[0], names, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"data.organs: {unknown} not among {names}{meant}")
    return {i: name for i, name in dataset.label_names.items() if name in organs}


def lenient(files: ImageFiles) -> ImageFiles:
    """Where organs are chosen, an id that is not declared is none of them."""
    own = files.labelling
    return files if own is None else dataclasses.replace(files, labelling=dataclasses.replace(own, strict=False))


def usable(
    dataset: Learn2RegDataset, organs: set[int], max_subjects: int | None
) -> tuple[Learn2RegDataset, dict[str, int]]:
    """The data set with those training images that can be learned from; and how many cannot, by reason.

    Args:
        dataset: all that is listed.
        organs: ids of those to learn from.
        max_subjects: at most so many; None is all.

    Raises:
        UserError: no training image is labelled, or ``max_subjects`` is below 1.
    """
    left_out = {"of subjects that validate or test": len(dataset.held_out)}

    def keep(reason: str, chosen: Callable[[ImageFiles], bool]) -> None:
        kept = [files for files in train if chosen(files)]
        left_out[reason] = len(train) - len(kept)
        train[:] = kept

    train = list(dataset.train)
    roles = {dataset.fixed_modality, dataset.moving_modality}
    keep("of a modality that is not registered", lambda files: files.modality in roles)
    listed = len(train)
    keep("without labels", lambda files: files.labels is not None)
    if listed and not train:
        raise UserError(f"{dataset.description}: none of the {listed} training images has labels")
    keep("with none of the organs labelled", lambda files: bool(organs.intersection(labelled(files, organs))))
    if max_subjects is not None:
        if max_subjects < 1:
            raise UserError(f"data.max_subjects={max_subjects}: must be 1 or more, or null")
        subjects = set(sorted({files.subject for files in train})[:max_subjects])
        keep("of further subjects (data.max_subjects)", lambda files: files.subject in subjects)
    images = {files.image for files in train}
    pairs = [pair for pair in dataset.pairs["train"] if {pair.fixed.image, pair.moving.image} <= images]
    used = dataclasses.replace(dataset, train=train, pairs={**dataset.pairs, "train": pairs})
    return used, {reason: count for reason, count in left_out.items() if count}


def labelled(files: ImageFiles, organs: set[int]) -> Collection[int]:
    """Ids of the organs that are labelled in an image; all of ``organs`` where nothing is declared."""
    return organs if files.labelling is None else files.labelling.labelled


def check_modalities(dataset: Learn2RegDataset) -> None:
    """Check the roles of pairs: each modality has a stem of its own, and an image must not go through the wrong one.

    Raises:
        UserError: a pair is not of the fixed and the moving modality.
    """
    expected = (dataset.fixed_modality, dataset.moving_modality)
    for pair in [*dataset.pairs["train"], *dataset.pairs["val"]]:
        if (pair.fixed.modality, pair.moving.modality) != expected:
            raise UserError(
                f"{dataset.description}: the pair of {pair.fixed.image.name} and {pair.moving.image.name} is not "
                f"{expected[0]} and {expected[1]}, as registration_direction says"
            )
