"""What a training learns from, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.data.pair import ImageFiles


def data_facts(data: RegistrationDataModule) -> dict[str, Any]:
    """Images, subjects, organs and pairs of a training, and what is left out of it.

    Returns:
        Plain types: ``name`` of the data set; of each split and modality its ``images`` and ``subjects``; of each
        organ and modality in how many training images it is ``labelled``; number of ``pairs`` of each split, for
        training those that are listed; ``pairing``; ``left_out``: number of training images by reason;
        ``unlabelled_val_pairs``: how many pairs do not validate because an image of them has no labels;
        ``header_notes``: what is assumed about the headers of the training and validation files.
    """
    dataset = data.dataset
    pairs = {**dataset.pairs, "val": data.val_pairs()}
    held_out = {s: dict.fromkeys(files for pair in pairs[s] for files in pair) for s in ("val", "test")}
    return {
        "name": dataset.name,
        "splits": {"train": _counts(data, dataset.train), **{s: _counts(data, own) for s, own in held_out.items()}},
        "labelled": {
            name: {m: data.labelled_images(i, m) for m in data.modalities} for i, name in data.label_names.items()
        },
        "pairs": {split: len(own) for split, own in pairs.items()},
        "pairing": data.pairing,
        "left_out": dict(data.left_out),
        "unlabelled_val_pairs": sum(not pair.labelled for pair in dataset.pairs["val"]),
        "header_notes": header_notes([*dataset.train, *(files for pair in pairs["val"] for files in pair)]),
    }


def _counts(data: RegistrationDataModule, files: Iterable[ImageFiles]) -> dict[str, dict[str, int]]:
    by_modality = {m: [own.subject for own in files if own.modality == m] for m in data.modalities}
    return {m: {"images": len(own), "subjects": len(set(own))} for m, own in by_modality.items()}


def facts_in_words(facts: Mapping[str, Any]) -> str:
    """The lines that a training begins with.

    Args:
        facts: of ``data_facts``.
    """
    lines = [f"data set {facts['name']}"]
    for split, own in facts["splits"].items():
        images = ", ".join(f"{n['images']} {m} of {_counted(n['subjects'], 'subject')}" for m, n in own.items())
        pairs = f"{_counted(facts['pairs'][split], 'pair')} listed"
        if split == "train":
            pairs = {"inter": "paired across subjects", "both": f"{pairs}, and paired across subjects"}.get(
                facts["pairing"], pairs
            )
        lines.append(f"  {split:<6}{images}; {pairs}")
    train = facts["splits"]["train"]
    everywhere = {m: n["images"] for m, n in train.items()}
    full = [name for name, own in facts["labelled"].items() if own == everywhere]
    if full:
        lines.append(f"  labelled in every training image: {', '.join(full)}")
    for name, own in facts["labelled"].items():
        if own != everywhere:
            counts = ", ".join(f"{n} of {everywhere[m]} {m}" for m, n in own.items())
            lines.append(f"  {name}: labelled in {counts} images")
    lines += [
        f"  left out: {_counted(count, 'training image')} {reason}" for reason, count in facts["left_out"].items()
    ]
    if count := facts["unlabelled_val_pairs"]:
        lines.append(f"  left out: {_counted(count, 'validation pair')} without labels")
    lines += [f"  {line}" for line in notes_in_words(facts["header_notes"])]
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
