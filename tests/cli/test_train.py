"""mmreg-train from another folder: it trains, or says in one line why not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mmreg_lightning.cli.train import check_checkpoint, entry
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.cnn import CNNFeatures

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
        monkeypatch.setattr(sys, "argv", ["mmreg-train", *own, *TINY, *overrides])
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
        (["foo=1"], "'foo'"),
        (["features=transformer"], "'features/transformer'"),
        (["features.norm=foo"], "features.norm='foo': must be"),
        (["features.channels=3"], "features.channels=3"),
        (["ckpt_path=nowhere.ckpt"], "ckpt_path=nowhere.ckpt: there is no such file"),
        (["data.organs=[brain]"], "'brain'"),
        (["data.spacing=-1"], "data.spacing=-1"),
        (["data.normalisation.CT.kind=zscore"], "kind must be"),
        (["data.normalisation.CT.clip=true"], "needs 'clip: false', because features.self_similarity"),
        (["seed=abc"], "seed=abc"),
        (["data.patch_size=99"], "data.patch_size=99: larger than the images"),
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


def test_a_training_shorter_than_an_epoch_has_a_best_checkpoint(call, tmp_path):
    code, _, _ = call("data.samples_per_epoch=2", "trainer.max_steps=1")
    assert code == 0
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(tmp_path / "out" / name, weights_only=True)["global_step"] == 1


def test_a_training_from_before_the_network_saw_self_similarity(tmp_path):
    module = torch.nn.ModuleDict({"features": CNNFeatures(["CT"], self_similarity=True)})
    old = tmp_path / "old.ckpt"
    weights = {name: value for name, value in module.state_dict().items() if "descriptors" not in name}
    torch.save({"state_dict": weights, "global_step": 1}, old)
    with pytest.raises(UserError, match="another features.self_similarity"):
        check_checkpoint(str(old), module, 10)


def test_checkpoints_that_cannot_be_resumed(tmp_path):
    module = torch.nn.Linear(2, 2)
    text, other = tmp_path / "text.ckpt", tmp_path / "other.ckpt"
    text.write_text("hello")
    torch.save({"state_dict": torch.nn.Linear(3, 3).state_dict()}, other)
    with pytest.raises(UserError, match="text.ckpt: damaged"):
        check_checkpoint(str(text), module, 10)
    with pytest.raises(UserError, match="other.ckpt: its weights do not fit"):
        check_checkpoint(str(other), module, 10)
    check_checkpoint(None, module, 10)
    done = tmp_path / "done.ckpt"
    torch.save({"state_dict": module.state_dict(), "global_step": 10}, done)
    check_checkpoint(str(done), module, 11)
    with pytest.raises(UserError, match="done.ckpt: has done 10 steps already, trainer.max_steps=10"):
        check_checkpoint(str(done), module, 10)


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
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "out"
    assert {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv"} <= {path.name for path in out.iterdir()}
    done = shell(
        [*common, f"hydra.run.dir={tmp_path}/more", "trainer.max_steps=4", f"ckpt_path={out}/last.ckpt"], tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert torch.load(tmp_path / "more" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_fast_dev_run_and_a_late_mistake(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", *TINY, "trainer.fast_dev_run=true"]
    done = shell(common, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
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
    assert (done.returncode, done.stderr) == (0, "")
    hyper_parameters = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert hyper_parameters["features"]["channels"] == 17 and hyper_parameters["spacing"] == 12.0
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["data"]["samples_per_epoch"] == 3
    assert "data: learn2reg, mine, phantom, prostate" in shell(["--config-dir", "conf", "--help"], tmp_path).stdout
