"""mmreg-train from another folder: it trains, or says in one line why not."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from trainings import recorded_warnings

from mmreg_lightning.cli.train import entry

TINY = ["data.spacing=12", "features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1"]
COMMAND = [sys.executable, "-c", "from mmreg_lightning.cli.train import entry; entry()"]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(phantom, cache_dir, tmp_path, monkeypatch, capsys, hydra_logging):
    """Runs the command in this process, in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("MMREG_PHANTOM", raising=False)

    def run(*overrides, data_root=phantom):
        own = [f"hydra.run.dir={tmp_path}/out", f"data.cache_dir={cache_dir}"]
        if data_root is not None:
            own.append(f"data.root={data_root}")
        options = [word for word in overrides if word.startswith("-")]  # argparse wants them first
        rest = [word for word in overrides if word not in options]
        monkeypatch.setattr(sys, "argv", ["mmreg-train", *options, *own, *TINY, *rest])
        code = 0
        try:
            entry()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["foo=1"], "foo: there is no such setting"),
        (["features=transformer"], "features=transformer: there is no such choice, known are cnn"),
        (["features.norm=foo"], "features.norm='foo': must be"),
        (["features.channels=3"], "features.channels=3"),
        (["ckpt_path=nowhere.ckpt"], "ckpt_path=nowhere.ckpt: there is no such file"),
        (["data.organs=[brain]"], "'brain'"),
        (["data.spacing=-1"], "data.spacing=-1"),
        (["data.normalisation.CT.kind=zscore"], "kind must be"),
        (["data.normalisation.CT.clip=true"], "needs 'clip: false', because features.self_similarity"),
        (["seed=abc"], "seed=abc"),
        (["data.patch_size=99"], "data.patch_size=99: larger than the images"),
        (["data.batch_size=0"], "data.batch_size=0: must be a whole number, 1 or more"),
        (["data.samples_per_epoch=0"], "data.samples_per_epoch=0: must be a whole number, 1 or more"),
        (["data.num_workers=-1"], "data.num_workers=-1: must be a whole number, 0 or more"),
        (["data.spacing=[12,12]"], "data.spacing=[12, 12]: must be a positive number of millimetres, or three"),
        (["trainer.max_steps=0"], "trainer.max_steps=0: must be 1 or more"),
        (["callbacks.checkpoint.monitor=val/dce"], "callbacks.checkpoint.monitor=val/dce: there is no such metric"),
        (["objective=val/dce"], "objective=val/dce: there is no such metric of a training, did you mean val/dice?"),
    ],
    ids=str,
)
def test_mistake_is_one_line_and_code_2(call, overrides, match):
    code, _, err = call(*overrides)
    assert code == 2
    lines = [line for line in err.splitlines() if "rank_zero" not in line]
    assert lines[-1].startswith("error: ") and match in lines[-1]
    assert "Traceback" not in err and sum(line.startswith("error: ") for line in lines) == 1


@pytest.mark.parametrize(("root", "match"), [("nowhere", "data.root=nowhere"), ("???", "data.root")])
def test_missing_data(call, root, match):
    code, out, err = call(f"data.root={root}", data_root=None)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and match in err


def test_a_folder_that_cannot_be_made(call):
    code, out, err = call("hydra.run.dir=/proc/nope")
    assert (code, out) == (2, "")
    assert err.startswith("error: hydra.run.dir: cannot write /proc/nope") and err.count("\n") == 1


def test_says_at_its_start_what_it_learns_from(call):
    code, out, _ = call("trainer.max_steps=1", "data.samples_per_epoch=1", "data.organs=[liver,spleen]")
    assert code == 0
    assert "data set PhantomMRCT\n  train 3 MR of 3 subjects, 3 CT of 3 subjects; paired across subjects\n" in out
    assert "  labelled in every training image: liver, spleen\n" in out
    assert "  left out: 4 training images of subjects that validate or test\n" in out


def test_an_empty_label_map_is_refused_before_it_is_counted_as_labelled(call, phantom, tmp_path):
    root = shutil.copytree(phantom, tmp_path / "phantom")
    path = root / "labelsTr" / "PhantomMRCT_0002_0001.nii.gz"
    labels = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(labels.shape, np.uint8), labels.affine), path)
    code, out, err = call("trainer.max_steps=1", data_root=root)
    assert code == 2 and "0002_0001.nii.gz: shows none of the organs to learn" in err
    assert "labelled in" not in out and not (tmp_path / "out").exists()


def test_a_log_of_its_own_choice(call, tmp_path):
    code, _, err = call("trainer.max_steps=1", "data.samples_per_epoch=1", "logger.csv=null")
    assert code == 0 and "Traceback" not in err
    assert (tmp_path / "out" / "last.ckpt").is_file() and not (tmp_path / "out" / "metrics.csv").exists()


def test_a_short_training_logs_its_steps_and_counts_its_epochs(call, tmp_path):
    """Two steps an epoch and five in all: the third validation is that of the epoch in which the training ends."""
    assert call("trainer.max_steps=5", "data.samples_per_epoch=2", "callbacks.pictures=null")[0] == 0
    with open(tmp_path / "out" / "metrics.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream)]
    validated = [(int(row["epoch"]), int(row["step"])) for row in rows if row["val/dice"]]
    assert validated == [(0, 1), (1, 3), (2, 4)]
    trained = [(int(row["epoch"]), int(row["step"])) for row in rows if row["train/loss"]]
    assert trained == [(0, 1), (1, 3)]
    assert "log_every_n_steps" not in (tmp_path / "out" / "train.log").read_text()


@pytest.mark.slow
def test_features_that_make_pairs_worse_are_warned_of(call, tmp_path, monkeypatch):
    monkeypatch.setattr("mmreg_lightning.training.module.mean_dice", lambda organs: 0.01)
    code, _, err = call("trainer.max_steps=1", "data.samples_per_epoch=1")
    (line,) = [line for line in err.splitlines() if line.startswith("warning: the last validation's Dice is 0.010 ")]
    assert code == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["warnings"] == [line.removeprefix("warning: ")]


def test_interrupt_is_code_130(call, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmreg_lightning.training.module.DescentModule.training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        code, _, err = call("trainer.max_steps=1")
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert code == 130 and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_the_steps_after_the_last_epoch_are_saved(call, tmp_path):
    code, _, _ = call("data.samples_per_epoch=2", "trainer.max_steps=3")
    assert code == 0
    last = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    keeper = next(state for name, state in last["callbacks"].items() if "'monitor': 'val/dice'" in name)
    best = torch.load(keeper["best_model_path"], weights_only=True)
    assert Path(keeper["best_model_path"]) == tmp_path / "out" / "best.ckpt"
    assert best["global_step"] in (2, 3)
    with open(tmp_path / "out" / "metrics.csv", encoding="utf-8", newline="") as stream:
        dice = {int(row["step"]): float(row["val/dice"]) for row in csv.DictReader(stream) if row["val/dice"]}
    assert float(keeper["best_model_score"]) == pytest.approx(max(dice.values()))
    code, _, _ = call("trainer.max_steps=4", f"ckpt_path={tmp_path}/out/last.ckpt", "data.samples_per_epoch=2")
    assert code == 0
    assert torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_a_training_shorter_than_an_epoch_has_a_best_checkpoint(call, tmp_path):
    code, _, _ = call("data.samples_per_epoch=2", "trainer.max_steps=1")
    assert code == 0
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(tmp_path / "out" / name, weights_only=True)["global_step"] == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {warm_up: 0}", "training.warm_up: there is no such setting, did you mean training.warmup?"),
        ("optimiser: {lr: 0.1}", "optimiser: there is no such setting, did you mean optimizer?"),
        ("max_steps: 3", "max_steps: there is no such setting, did you mean trainer.max_steps?"),
        ("trainer: {max_step: 3}", "trainer.max_step: there is no such setting, did you mean trainer.max_steps?"),
        ("hydra: {swep: {dir: a}}", "configuration: In 'experiment/mine': ConfigKeyError raised while composing"),
    ],
)
def test_a_slip_in_ones_own_experiment(call, tmp_path, text, sentence):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    code, out, err = call("--config-dir=conf", "experiment=mine")
    assert (code, out) == (2, "") and err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert not list((tmp_path / "out").glob("*.ckpt")), "nothing is computed"


def test_an_experiment_without_its_first_line(call, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("training: {warmup: 0}\n")
    code, out, err = call("--config-dir=conf", "experiment=mine")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "landed under 'experiment.'" in err and "it lacks the line '# @package _global_' at its top" in err


@pytest.mark.parametrize("override", ["+training.warm_up=0.1", "+data.normalisation.CT.hi=300", "+training.warmup=0.1"])
def test_a_slip_on_the_command_line(call, override):
    code, out, err = call(override)
    key = override[1:].partition("=")[0]
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and key in err


def test_a_slip_ends_a_multirun_before_anything_is_trained(call, tmp_path):
    code, out, err = call("-m", "seed=1,2", "+training.warm_up=0", f"hydra.sweep.dir={tmp_path}/sweep")
    assert code == 2 and "error: training.warm_up: there is no such setting" in err and err.count("error: ") == 1
    assert not list((tmp_path / "sweep").glob("*/last.ckpt"))


@pytest.mark.slow
def test_a_training_of_a_multirun_that_diverges_is_noted(call, tmp_path):
    sweep = tmp_path / "sweep"
    options = [
        "optimizer.lr=1e30,1e6,0.001",
        "data.samples_per_epoch=3",
        "trainer.max_steps=3",
        f"hydra.sweep.dir={sweep}",
    ]
    _, out, err = call("-m", *options)
    failed = list(sweep.glob("*/failure.txt"))
    (finished,) = sweep.glob("*/result.json")
    assert len(failed) == 2 and finished.parent not in [path.parent for path in failed] and "Traceback" not in err
    for path in failed:
        assert path.read_text().startswith("step ") and "so the training stops" in path.read_text()
    assert out.count(": failed, step ") == 2


def shell(arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, encoding="utf-8", cwd=cwd, env=environment)


def test_help(tmp_path):
    done = shell(["--help"], tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("  mmreg-train ") >= 3
    assert all(f"{group}: " in done.stdout for group in ("data", "features", "loss", "training", "solver"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_trains_from_another_folder_and_resumes(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", *TINY, "data.samples_per_epoch=2"]
    done = shell([*common, f"hydra.run.dir={tmp_path}/out", "trainer.max_steps=2"], tmp_path)
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "out"))
    out = tmp_path / "out"
    assert {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv"} <= {path.name for path in out.iterdir()}
    done = shell(
        [*common, f"hydra.run.dir={tmp_path}/more", "trainer.max_steps=4", f"ckpt_path={out}/last.ckpt"], tmp_path
    )
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "more"))
    assert torch.load(tmp_path / "more" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_fast_dev_run_and_a_late_mistake(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", *TINY, "trainer.fast_dev_run=true"]
    done = shell(common, tmp_path)
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path))
    done = shell([*common, "data.patch_size=99"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: data.patch_size=99") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_folder_of_ones_own_adds_an_experiment_and_a_data_set(phantom, cache_dir, tmp_path):
    for group, text in (
        ("data", f"defaults:\n  - learn2reg\n  - _self_\nroot: {phantom}\nspacing: 12.0\nsamples_per_epoch: 3\n"),
        ("experiment", "# @package _global_\nfeatures:\n  channels: 17\ntrainer:\n  max_steps: 1\n"),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    own = ["--config-dir", "conf", "data=mine", "experiment=mine", f"data.cache_dir={cache_dir}"]
    done = shell([*own, *TINY[1:], f"hydra.run.dir={tmp_path}/out"], tmp_path)
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "out"))
    hyper_parameters = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert hyper_parameters["features"]["channels"] == 17 and hyper_parameters["spacing"] == 12.0
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["data"]["samples_per_epoch"] == 3
    assert "data: learn2reg, mine, phantom, prostate" in shell(["--config-dir", "conf", "--help"], tmp_path).stdout
