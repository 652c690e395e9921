"""Multiruns: one after the other, by joblib and by submitit; killed, failed and finished before; and their report."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mmreg_lightning.cli.sweep_report import main as report
from mmreg_lightning.errors import UserError
from mmreg_lightning.training.sweep.collect import group, read_sweep

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[2] / "scripts" / "train.py"), "-m"]


def sweep(phantom, cache_dir, folder, *overrides):
    argv = [*COMMAND, "experiment=phantom_tiny", f"data.root={phantom}", f"data.cache_dir={cache_dir}"]
    argv += ["trainer.max_steps=2", f"hydra.sweep.dir={folder}", *overrides]
    return subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=600)


def numbers(folder):
    """Metrics of the finished runs, by regulariser and seed."""
    runs = [run for run in read_sweep(folder) if run.record is not None]
    return {(run.values["regulariser"], run.values["seed"]): dict(run.record.metrics) for run in runs}


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
    for run in runs:
        seed = run.values["seed"]
        assert run.name.startswith(f"regulariser={run.values['regulariser']},seed={seed},max_steps=2")
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
    (lost,) = folder.glob("regulariser=none,seed=2,*")
    (lost / "result.json").unlink()
    done = sweep(phantom, cache_dir, folder, "regulariser=gaussian,none", "seed=1,2", "data.organs=null,[brain]")
    assert done.stdout.count("finished before: ") == 3
    assert "failed: " in done.stderr and "brain" in done.stderr
    assert done.returncode == 1 and ": failed, data.organs: ['brain'] not among" in done.stdout
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
    expected = {name: row for name, row in numbers(finished[0]).items() if name[0] == "gaussian"}
    overrides = ["seed=1,2", "regulariser=gaussian", f"hydra/launcher={launcher}", *more]
    done = sweep(phantom, cache_dir, tmp_path / launcher, *overrides)
    assert done.returncode == 0, done.stderr
    got = numbers(tmp_path / launcher)
    assert set(got) == set(expected)
    for name, row in expected.items():
        assert got[name] == pytest.approx(row, abs=1e-5)


@pytest.fixture
def experiments(tmp_path):
    """Two experiments of a user's own, which differ in the learning rate."""
    folder = tmp_path / "my_conf" / "experiment"
    folder.mkdir(parents=True)
    for name, rate in (("A", 0.001), ("B", 0.02)):
        (folder / f"{name}.yaml").write_text(
            "# @package _global_\ndefaults: [phantom_tiny, _self_]\ntrainer: {max_steps: 1}\n"
            f"callbacks: {{pictures: null}}\noptimizer: {{lr: {rate}}}\n"
        )
    return folder


@pytest.fixture
def multirun(cache_dir, tmp_path):
    """Runs a multirun in ``tmp_path/sweep``; returns what it did, and its runs."""

    def run(*overrides):
        argv = [*COMMAND, f"--config-dir={tmp_path}/my_conf", f"data.cache_dir={cache_dir}"]
        argv += [f"hydra.sweep.dir={tmp_path}/sweep", *overrides]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=600)
        return done, read_sweep(tmp_path / "sweep")

    return run


def learning_rate(run):
    return torch.load(run.folder / "last.ckpt", weights_only=True)["hyper_parameters"]["optimizer"]["lr"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_experiments_of_ones_own_and_data_sets_are_other_runs(launcher, multirun, experiments, phantom, tmp_path):
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="is in the extra sweep")
    second = tmp_path / "ph2"
    shutil.copytree(phantom, second)
    overrides = ["experiment=A,B", f"data.root={phantom},{second}", f"hydra/launcher={launcher}"]
    done, runs = multirun(*overrides)
    assert done.returncode == 0, done.stderr
    assert [run.status for run in runs] == ["finished"] * 4
    for run in runs:
        assert learning_rate(run) == {"A": 0.001, "B": 0.02}[run.values["experiment"]]
        assert yaml.safe_load((run.folder / "config.yaml").read_text())["data"]["root"] == run.values["data.root"]
    assert len({run.values["data.root"] for run in runs}) == 2
    done, _ = multirun(*overrides[:2])
    assert done.returncode == 0 and done.stdout.count("finished before: ") == 4


@pytest.mark.slow
def test_after_a_change_no_old_number_is_listed(multirun, experiments, phantom, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    common = ["experiment=A,B", f"data.root={data}"]
    _, before = multirun(*common)
    changed = experiments / "B.yaml"
    changed.write_text(changed.read_text().replace("0.02", "0.03"))
    done, runs = multirun(*common)
    assert done.returncode == 0 and done.stdout.count("finished before: ") == 1
    assert done.stdout.count("holds a training with another configuration or other data: this one goes to ") == 1
    assert sorted((run.status, run.values["experiment"], learning_rate(run)) for run in runs) == [
        ("finished", "A", 0.001),
        ("finished", "B", 0.03),
        ("outdated", "B", 0.02),
    ]
    labels = sorted((data / "labelsTr").iterdir())
    labels[0].write_bytes(labels[2].read_bytes())
    done, runs = multirun(*common)
    assert done.returncode == 0 and "finished before: " not in done.stdout
    assert sum(run.status == "finished" for run in runs) == 2 and sum(run.status == "outdated" for run in runs) == 3
    assert all((run.folder / "result.json").is_file() for run in before), "nothing is overwritten"
    with open(tmp_path / "sweep" / "sweep.csv", encoding="utf-8", newline="") as stream:
        assert all(row["val/dice"] == "" for row in csv.DictReader(stream) if row["status"] == "outdated")


@pytest.mark.slow
def test_folders_by_number_do_not_mix_seeds(multirun, experiments, phantom):
    common = ["experiment=A", f"data.root={phantom}", "hydra.sweep.subdir=${hydra:job.num}"]
    _, runs = multirun(*common, "seed=1,2")
    expected = {run.values["seed"]: run.record.metrics for run in runs}
    done, runs = multirun(*common, "seed=0,1")
    assert done.returncode == 0 and done.stdout.count("finished before: ") == 1
    got = {run.values["seed"]: run.record.metrics for run in runs}
    assert set(got) == {"0", "1", "2"} and {seed: got[seed] for seed in expected} == expected
    for run in runs:
        assert str(yaml.safe_load((run.folder / "config.yaml").read_text())["seed"]) == run.values["seed"]


@pytest.mark.slow
def test_slashes_and_many_overrides(multirun, experiments, phantom, tmp_path):
    many = [f"data.augmentation.{key}=0.0" for key in ("degrees", "scales", "translation", "log_gamma", "noise")]
    many += ["loss.magnitude=1.0", "loss.direction=1.0", "training.organ_weight=0.5", "training.descent_weight=1.0"]
    many += ["solver.iterations=1", "features.smoothing=0.8", "descent.unrolled_steps=1", "optimizer.weight_decay=0.0"]
    done, runs = multirun("experiment=A", f"data.root={phantom}", "objective=val/dice,val/cosine", *many)
    assert done.returncode == 0, done.stderr
    assert [(run.status, run.values["objective"]) for run in runs] == [
        ("finished", "val/dice"),
        ("finished", "val/cosine"),
    ]
    assert all(run.folder.parent == tmp_path / "sweep" and len(run.name) <= 60 for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failure_is_exit_code_1_and_ends_the_multirun_on_wish(launcher, multirun, experiments, phantom):
    if launcher != "basic":
        plugin = f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher"
        pytest.importorskip(plugin, reason="is in the extra sweep")
    common = ["experiment=A", f"data.root={phantom}", f"hydra/launcher={launcher}"]
    common += ["hydra.launcher.n_jobs=1"] if launcher == "joblib" else []
    done, runs = multirun(*common, "data.organs=[brain],[liver]", "sweep.fail_fast=true")
    assert done.returncode == 1 and runs[0].status == "failed" and "'brain'" in runs[0].message
    if launcher == "submitit_local":  # at once: the second one may have begun before the first one fails
        return
    assert [run.status for run in runs] == ["failed", "unfinished"] and "(sweep.fail_fast=true)" in done.stdout
    assert not list(runs[1].folder.glob("*.ckpt"))
    done, runs = multirun(*common, "data.organs=[brain],[liver]")
    assert done.returncode == 1 and [run.status for run in runs] == ["failed", "finished"]
    done, runs = multirun(*common, "data.organs=[liver]")
    assert done.returncode == 0, "the failure is of another multirun"


@pytest.mark.slow
def test_a_signal_ends_the_multirun(multirun, experiments, phantom, tmp_path, monkeypatch):
    code = "import os, signal; from mmreg_lightning.training import module\n"
    code += "step = module.DescentModule.training_step\n"
    code += "def signalled(self, *batch):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return step(self, *batch)\n"
    code += "module.DescentModule.training_step = signalled\n"
    code += "from mmreg_lightning.cli.train import entry; entry()\n"
    monkeypatch.setattr(sys.modules[__name__], "COMMAND", [sys.executable, "-c", code, "-m"])
    done, runs = multirun("experiment=A", f"data.root={phantom}", "seed=1,2", "trainer.max_steps=3")
    assert done.returncode == 143 and "stopped by SIGTERM after step 1: wrote" in done.stdout
    assert [(run.status, run.values["seed"]) for run in runs] == [("unfinished", "1")]


def test_a_folder_without_runs(tmp_path):
    with pytest.raises(UserError, match="holds no run of a multirun"):
        report([str(tmp_path)])
