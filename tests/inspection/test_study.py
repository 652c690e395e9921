"""A study: checks of its inputs, choice of images, summary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.inspection.study import Study, images_of, retrieval_by_organ, summarise


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe_split": "test"}, "probe_split=test: must differ from split"),
        ({"subjects": 0}, "subjects=0: must be a whole number, 1 or more"),
        ({"descent_pairs": -1}, "descent_pairs=-1: must be a whole number, 1 or more"),
    ],
)
def test_options_are_checked(trained, phantom, options, message):
    with pytest.raises(UserError, match=message):
        Study(trained, phantom, **options)


def test_a_missing_package_is_found_before_anything_is_measured(trained, phantom, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(UserError, match="extra inspection"):
        Study(trained, phantom)


def test_an_image_of_several_pairs_is_measured_once(dataset):
    pair = dataset.pairs["test"][0]
    other = replace(pair, fixed=replace(pair.fixed, image=pair.fixed.image.with_name("b.nii.gz"), subject="0001"))
    assert [files.subject for files in images_of([pair, other, pair], "MR", 9)] == ["0001", "0005"]
    assert [files.subject for files in images_of([pair, other], "MR", 1)] == ["0001"]
    assert images_of([pair, other], "CT", 9) == [pair.moving]


def tables() -> dict[str, list[dict[str, object]]]:
    common = {"family": "learned"}
    errors = [("liver", 2.0), ("liver", 10.0), ("liver", 30.0), ("spleen", 12.0)]
    return {
        "distances": [{**common, "organ": "liver", "ratio": 0.2}, {**common, "organ": "all", "ratio": 0.4}],
        "probe": [
            {**common, "trained_on": "MR", "tested_on": tested, "organ": organ, "recall": recall}
            for tested, organ, recall in (("MR", "liver", 1.0), ("MR", "all", 0.9), ("CT", "all", 0.5))
        ],
        "retrieval_landmarks": [],
        "retrieval_surfaces": [{**common, "case": "a", "organ": organ, "error_mm": mm} for organ, mm in errors],
        "capture": [{**common, "mm": 3.0, "organ": organ, "cosine": c} for organ, c in (("liver", 0.5), ("spleen", 1))],
        "landscape": [
            {**common, "axis": axis, "mm": 0.0, "energy": 1.0, "lowest_mm": lowest, "basin_mm": basin}
            for axis, lowest, basin in (("x", -2.0, 10.0), ("y", 4.0, 20.0))
        ],
    }


def test_the_summary_holds_the_means_of_each_family():
    assert summarise(tables()) == {
        "distance_ratio": {"learned": 0.4},
        "probe_balanced_accuracy": {"learned": {"MR to MR": 0.9, "MR to CT": 0.5}},
        "retrieval_landmarks": {},
        "retrieval_surfaces": {"learned": {"median_mm": 11.0, "within_10_mm": 0.5, "points": 4}},
        "capture_cosine": [{"family": "learned", "mm": 3.0, "cosine": 0.75}],
        "landscape": {"learned": {"lowest_off_by_mm": 3.0, "basin_mm": 15.0}},
    }


def test_errors_by_organ_are_medians():
    assert retrieval_by_organ(tables()["retrieval_surfaces"]) == [
        {"family": "learned", "organ": "liver", "median_mm": 10.0, "points": 3},
        {"family": "learned", "organ": "spleen", "median_mm": 12.0, "points": 1},
    ]
