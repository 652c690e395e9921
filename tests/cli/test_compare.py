"""mmreg-compare: options and mistakes."""

from __future__ import annotations

import pytest

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


def test_neither_a_checkpoint_nor_features(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mmreg-compare", "--data", str(tmp_path), "--out", f"{tmp_path}/out"])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert (stop.value.code, capsys.readouterr().err) == (2, "error: --checkpoint or --features must be given\n")
