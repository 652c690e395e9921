"""The robustness page from rows that are written by hand."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from mmreg_lightning.benchmark.robustness_report import write_robustness
from mmreg_lightning.data.perturbed import Perturbation


def rows(method, falls, same=False):
    return [
        {
            "case": f"{number}_to_{number + (not same)}",
            "same_subject": same,
            "method": method,
            "perturbation": "shift",
            "level": level,
            "dice": 0.8 - fall * level,
            "dice_before": 0.1,
            "tre_mm": 2.0 + level if same else None,
        }
        for number, fall in enumerate(falls)
        for level in (0, 10)
    ]


@pytest.fixture
def written(tmp_path):
    robust = SimpleNamespace(
        plan=SimpleNamespace(methods=[SimpleNamespace(name="a+demons"), SimpleNamespace(name="b+demons")], seed=1),
        perturbations=[Perturbation("shift", [0, 10], "mm", "initial shift")],
        fewer={},
        percent=95.0,
        draws=100,
    )
    table = [*rows("a+demons", [0.01] * 5), *rows("b+demons", [0.04] * 5), *rows("a+demons", [0.0], same=True)]
    failed = {"case": "9_to_8", "same_subject": False, "method": "b+demons", "perturbation": "shift", "level": 10}
    facts = {"title": "Robustness", "what": "introduction", "seed": 1}
    settings = {"a+demons": {"solver.a": 1}, "b+demons": {}}
    return tmp_path, write_robustness(tmp_path, robust, [*table, {**failed, "error": "too small"}], settings, facts)


def test_areas_and_curves_are_the_closed_forms(written):
    _, summary = written
    (test,) = summary["areas"]
    # The means of straight lines: 0.8 - 0.01 * 5 and 0.8 - 0.04 * 5.
    assert (test["first_area"], test["second_area"], test["difference"]) == pytest.approx((0.75, 0.6, 0.15))
    assert (test["low"], test["high"]) == pytest.approx((0.15, 0.15)) and test["cases"] == 5
    assert test["p"] == test["p_holm"] == pytest.approx(2 / 2**5)
    dice = [(line["method"], line["level"], line["mean"]) for line in summary["curves"] if line["measure"] == "dice"]
    assert [line[:2] for line in dice] == [("a+demons", 0), ("a+demons", 10), ("b+demons", 0), ("b+demons", 10)]
    assert [line[2] for line in dice] == pytest.approx([0.8, 0.7, 0.8, 0.4])
    tre = [(line["level"], line["mean"], line["cases"]) for line in summary["curves"] if line["measure"] == "tre_mm"]
    assert tre == [(0.0, 2.0, 1), (10.0, 12.0, 1)]


def test_files_and_words(written):
    folder, _ = written
    names = {"results.csv", "curves.csv", "areas.csv", "summary.json", "dice.png", "tre_mm.png"}
    assert {path.name for path in folder.iterdir()} == names | {"report.md", "report.html"}
    with open(folder / "areas.csv", newline="", encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == [
            *("measure", "perturbation", "first", "second", "cases", "first_area", "second_area"),
            *("difference", "low", "high", "p", "p_holm"),
        ]
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "| initial shift | b+demons | 0.750 | 0.600 | +0.150 [+0.150, +0.150] | 5 | 0.062 | 0.062 |" in page
    assert "mean Dice of 6 pairs of two subjects" in page and "TRE (mm) of 1 pair of one subject" in page
    assert "Without a result: b+demons shift 10 9_to_8: too small." in page
    assert "| a+demons | solver.a=1 |" in page and "| b+demons | the default |" in page
