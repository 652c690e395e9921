"""mmreg-compare's words: options, mistakes, and the note of its report."""

from __future__ import annotations

import pytest

from mmreg_lightning.benchmark.comparison_report import method_note
from mmreg_lightning.cli.compare import build_parser, entry


def test_defaults():
    arguments = build_parser().parse_args(["--checkpoint", "a.ckpt", "--data", "b", "--out", "c"])
    assert (arguments.tune, arguments.tune_pairs, arguments.report, arguments.overwrite) == ("val", 6, "test", False)


def test_a_mistake_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    arguments = ["--checkpoint", f"{tmp_path}/no.ckpt", "--data", str(tmp_path), "--out", f"{tmp_path}/out"]
    monkeypatch.setattr("sys.argv", ["mmreg-compare", *arguments])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: --checkpoint {tmp_path}/no.ckpt: there is no such file"
    assert not (tmp_path / "out").exists()


def test_the_note_says_what_was_done():
    note = method_note(trials=12, tuning_pairs=3, tune="val", report="test")
    assert "same 12 settings" in note and "over 3 pairs of the val split" in note
    assert "more than 0.1 % of the voxels" in note and "from the test split" in note


def test_the_note_says_when_nothing_was_held_out():
    note = method_note(trials=12, tuning_pairs=1, tune="val", report="val")
    assert "over 1 pair of the val split" in note and "tuned on the pairs of the reported split val itself" in note
