from __future__ import annotations

import math

from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.registration.report import score_tables, summary


def test_summary_says_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    assert summary(Scores(*dice, 8.0, 4.126, 0.01, 0.1234)) == (
        "Dice 0.500 → 0.750 (1 label), TRE 8.00 → 4.13 mm, folds 0.01 %, SD log J 0.123"
    )
    assert summary(Scores(None, None, None, None, 0.0, 0.1)) == "folds 0.00 %, SD log J 0.100"


def test_tables_say_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    tables = score_tables(Scores(*dice, 8.0, 4.126, 0.01, 0.1234), {"read": 0.5, "resample_field": 1.25})
    assert [heading for heading, _ in tables] == ["Measures", "Dice of each organ", "Seconds by stage"]
    measures, organs, stages = (rows for _, rows in tables)
    assert measures == [
        ["", "before", "after"],
        ["Dice, mean of 1 label", "0.500", "0.750"],
        ["Landmark error (TRE), mm", "8.00", "4.13"],
        ["Folds, % of voxels", "–", "0.010"],
        ["SD of log J", "–", "0.123"],
        ["Seconds until this report", "–", "1.8"],
    ]
    assert organs == [["", "before", "after"], ["a", "0.500", "0.750"], ["b", "–", "–"]]
    assert stages == [["", "s"], ["read", "0.5"], ["resample field", "1.2"]]
    few = score_tables(Scores(None, None, None, None, 0.0, 0.1), {"solver": 2.0})
    assert [heading for heading, _ in few] == ["Measures", "Seconds by stage"]
    assert [row[0] for row in few[0][1]] == ["", "Folds, % of voxels", "SD of log J", "Seconds until this report"]
