"""Pairs of files: what can be scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmreg_lightning.data.pair import ImageFiles, Pair


def files(name: str, subject: str = "0001", **parts: bool) -> ImageFiles:
    """Of an image with the parts that are True."""
    paths = {part: Path(f"{name}_{part}") for part, there in parts.items() if there}
    return ImageFiles(Path(name), subject=subject, **paths)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fixed", "moving", "left"),
    [
        ({"labels": True}, {}, {"fixed", "moving"}),
        ({}, {"labels": True}, {"fixed", "moving", "moving_labels"}),
        ({"labels": True}, {"labels": True}, {"fixed", "moving", "fixed_labels", "moving_labels"}),
        ({"landmarks": True}, {"mask": True}, {"fixed", "moving", "moving_mask"}),
        ({"landmarks": True}, {"landmarks": True}, {"fixed", "moving", "fixed_landmarks", "moving_landmarks"}),
    ],
)
def test_what_has_no_counterpart_is_not_scored(fixed: dict[str, bool], moving: dict[str, bool], left: set[str]) -> None:
    pair = Pair(files("f", **fixed), files("m", **moving))
    assert set(pair.scorable().files()) == left
    assert pair.labelled == ("fixed_labels" in left)


def test_landmarks_of_two_subjects_do_not_correspond() -> None:
    pair = Pair(files("f", landmarks=True), files("m", "0002", landmarks=True))
    assert set(pair.scorable().files()) == {"fixed", "moving"}
