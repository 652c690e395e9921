from __future__ import annotations

import math

from scenes import files_of

from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.report import registration_picture, score_tables, summary, write_html
from mmreg_lightning.registration.settings import Options, resolve


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


def test_a_registration_becomes_a_page(write_scene, tmp_path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (30, 28, 32), shift=(4, -3, 2), axes="PSR")
    options = Options(fixed_modality="MR", moving_modality="CT", affine="moments", overrides=["solver.iterations=2"])
    pair = files_of(fixed.image, moving.image, fixed.labels, moving.labels).read()
    result = register_pair(pair, resolve(options))
    write_html(tmp_path / "report.html", result, registration_picture(result))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "m.nii.gz  →  f.nii.gz" in page
    assert "Fixed: f.nii.gz (MR). Moving: m.nii.gz (CT)." in page
    assert "affine alignment that preceded it" in page
    assert "Dice, mean of 2 labels" in page and "label 2" in page
