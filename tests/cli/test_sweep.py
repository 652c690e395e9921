"""Multiruns: one after the other, by joblib and by submitit; killed, failed and finished before; and their report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmreg_lightning.cli.sweep_report import main as report
from mmreg_lightning.errors import UserError
from mmreg_lightning.training.sweep.collect import group, read_sweep
from mmreg_lightning.training.sweep.record import fingerprint

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[2] / "scripts" / "train.py"), "-m"]


def sweep(phantom, cache_dir, folder, *overrides):
    argv = [*COMMAND, "experiment=phantom_tiny", f"data.root={phantom}", f"data.cache_dir={cache_dir}"]
    argv += ["trainer.max_steps=2", f"hydra.sweep.dir={folder}", *overrides]
    return subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=600)


def numbers(folder):
    runs = read_sweep(folder)
    return {run.folder.name: dict(run.record.metrics) for run in runs if run.record is not None}


@pytest.fixture(scope="module")
def finished(phantom, cache_dir, tmp_path_factory):
    """Four short trainings, and one that cannot work."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    done = sweep(phantom, cache_dir, folder, "seed=1,2", "regulariser=gaussian,none")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_sweep_ends_with_its_table(finished, capsys):
    folder, printed = finished
    assert "| regulariser=gaussian | 2 |" in printed and f"Report: {folder / 'report.html'}" in printed
    runs = read_sweep(folder)
    assert {run.folder.name for run in runs} == {
        f"regulariser={name},seed={seed},trainer.max_steps=2" for name in ("gaussian", "none") for seed in (1, 2)
    }
    points = group(runs)
    assert [point.name for point in points] == ["regulariser=gaussian", "regulariser=none"]
    mean, deviation = points[0].mean_and_deviation("val/dice")
    values = [run.record.metrics["val/dice"] for run in points[0].runs]
    assert mean == pytest.approx(sum(values) / 2) and deviation == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert len(points[0].cases("dice")) == 2 and len({seed for seed, _ in points[0].cases("dice")}) == 2
    for name in ("report.md", "report.tex", "report.html", "curves.png", "effects.png"):
        assert (folder / name).stat().st_size > 100
    with open(folder / "sweep.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 and {row["status"] for row in rows} == {"finished"}
    report([str(folder), "--out", str(folder.parent / "elsewhere")])
    assert "| regulariser=none | 2 |" in capsys.readouterr().out
    assert (folder.parent / "elsewhere" / "report.html").is_file()


@pytest.mark.slow
def test_points_that_are_finished_are_skipped_and_failures_named(finished, phantom, cache_dir):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/last.ckpt")}
    # One point is lost half-way, one is new and cannot work, and the order of the overrides is another.
    lost = folder / "regulariser=none,seed=2,trainer.max_steps=2"
    (lost / "result.json").unlink()
    done = sweep(phantom, cache_dir, folder, "regulariser=gaussian,none", "seed=1,2", "data.organs=null,[brain]")
    assert done.stdout.count("finished before: ") == 3
    assert "failed: " in done.stderr and "brain" in done.stderr
    assert "data.organs=[brain],regulariser=none,seed=1,trainer.max_steps=2: failed, " in done.stdout
    runs = read_sweep(folder)
    assert sum(run.status == "failed" for run in runs) == 4
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time or path.parent == lost


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "more"),
    [
        ("joblib", ["hydra.launcher.n_jobs=2"]),
        ("submitit_local", ["hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10"]),
    ],
)
def test_launchers_give_the_same_numbers(launcher, more, finished, phantom, cache_dir, tmp_path):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="is in the extra sweep")
    expected = {name: row for name, row in numbers(finished[0]).items() if name.startswith("regulariser=gaussian")}
    overrides = ["seed=1,2", "regulariser=gaussian", f"hydra/launcher={launcher}", *more]
    done = sweep(phantom, cache_dir, tmp_path / launcher, *overrides)
    assert done.returncode == 0, done.stderr
    got = numbers(tmp_path / launcher)
    assert set(got) == set(expected)
    for name, row in expected.items():
        assert got[name] == pytest.approx(row, abs=1e-5)


def test_what_a_fingerprint_sees():
    settings = {
        "seed": 1,
        "output_dir": "a",
        "ckpt_path": None,
        "logger": {"csv": {"save_dir": "a"}},
        "callbacks": {"keep": {"_target_": "x", "dirpath": "a"}, "off": None},
        "data": {"root": "d", "cache_dir": "c"},
    }
    elsewhere = json.loads(json.dumps(settings).replace('"a"', '"b"').replace('"c"', '"e"'))
    assert fingerprint(settings) == fingerprint(elsewhere)
    assert fingerprint(settings) != fingerprint({**settings, "seed": 2})
    assert fingerprint(settings) != fingerprint({**settings, "callbacks": {"keep": {"_target_": "y"}}})


def test_a_folder_without_runs(tmp_path):
    with pytest.raises(UserError, match="holds no run of a multirun"):
        report([str(tmp_path)])
