"""Trainings that are killed and resumed, or shared between processes, end where one that is neither ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.dataset import write_phantom
from mmreg_lightning.training.run import train as fit_training

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[2] / "scripts" / "train.py"), "experiment=phantom_tiny"]
KILLED_IN_THE_THIRD_EPOCH = """
import os, signal
from mmreg_lightning.cli.train import entry
from mmreg_lightning.training.module import DescentModule

training_step = DescentModule.training_step

def step_or_die(self, *batch):
    if self.global_step == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, *batch)

DescentModule.training_step = step_or_die
entry()
"""
"""mmreg-train with 4 steps an epoch, killed within the third one."""


def last_validation(folder: Path) -> dict[str, float]:
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("val/dice")]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("val/")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "data.samples_per_epoch=4", "trainer.max_steps=16"]
    # Augmentation, the warm-up and the start states of the descent are all random.
    common += ["training.warmup=0.4", "trainer.deterministic=true"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*COMMAND, *common, f"hydra.run.dir={whole}"], check=True, env=environment, capture_output=True)
    argv = [sys.executable, "-c", KILLED_IN_THE_THIRD_EPOCH, *COMMAND[2:], *common, f"hydra.run.dir={killed}"]
    done = subprocess.run(argv, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(killed / "last.ckpt", weights_only=True)["global_step"] == 8
    resume = [*COMMAND, *common, f"hydra.run.dir={killed}", "ckpt_path=last"]
    subprocess.run(resume, check=True, env=environment, capture_output=True)
    expected, got = weights(whole), weights(killed)
    assert all(torch.allclose(got[name], value, rtol=0, atol=1e-6) for name, value in expected.items())
    assert torch.load(killed / "last.ckpt", weights_only=True)["global_step"] == 16
    assert last_validation(killed) == pytest.approx(last_validation(whole), abs=1e-5)


@pytest.mark.slow
def test_two_processes_validate_as_one_does(cache_dir, tmp_path):
    data = write_phantom(tmp_path / "phantom", 6, (32, 28, 32), spacing=12.0, val=2, test=1)
    common = [f"data.root={data}", f"data.cache_dir={cache_dir}", "trainer.max_steps=2", "optimizer.lr=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, more in (("one", []), ("two", ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"])):
        done = subprocess.run(
            [*COMMAND, *common, f"hydra.run.dir={tmp_path / name}", *more],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    one, two = last_validation(tmp_path / "one"), last_validation(tmp_path / "two")
    assert two == pytest.approx(one, abs=1e-5) and 0 < one["val/dice"] < 1
    expected, got = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    records = [json.loads((tmp_path / name / "result.json").read_text())["cases"] for name in ("one", "two")]
    assert len(records[0]) == 4 and {case["case"] for case in records[0]} == {case["case"] for case in records[1]}


SIGNAL_IN_A_STEP = """
import os, signal, sys
from mmreg_lightning.cli.train import entry
from mmreg_lightning.training.module import DescentModule

training_step = DescentModule.training_step
number, step, sent = int(sys.argv.pop(1)), int(sys.argv.pop(1)), []

def signalled_step(self, *batch):
    if self.global_step == step and not sent:
        sent.append(True)
        os.kill(os.getpid(), number)
    return training_step(self, *batch)

DescentModule.training_step = signalled_step
entry()
"""
"""mmreg-train that a signal reaches within a step: ``python -c ... SIGNAL STEP OVERRIDES``."""
TINY = ["data.spacing=12", "features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1"]
TINY += ["descent.levels=[2,1]", "callbacks.pictures=null", "trainer.deterministic=true", "training.warmup=0.4"]


@pytest.fixture
def train(phantom, cache_dir):
    """Runs mmreg-train, four steps an epoch and eight in all, with or without a signal in a step."""

    def run(folder, *overrides, signalled=None, check=True):
        start = (
            [sys.executable, COMMAND[1]]
            if signalled is None
            else [sys.executable, "-c", SIGNAL_IN_A_STEP, *map(str, signalled)]
        )
        common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "data.samples_per_epoch=4"]
        common += [f"hydra.run.dir={folder}", "trainer.max_steps=8"]
        done = subprocess.run(
            [*start, *TINY, *common, *overrides],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def same(first: Path, second: Path) -> bool:
    expected, got = weights(first), weights(second)
    return all(torch.allclose(got[name], value, rtol=0, atol=1e-6) for name, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "step", "saved", "more"),
    [
        (signal.SIGINT, 130, 5, 6, []),
        (signal.SIGTERM, 143, 5, 6, ["data.num_workers=1"]),
        (signal.SIGTERM, 143, 3, 4, []),  # in the last step of an epoch
        (signal.SIGTERM, 143, 3, 5, ["trainer.check_val_every_n_epoch=2", "data.num_workers=1"]),
        (signal.SIGTERM, 143, 4, 5, ["trainer.accumulate_grad_batches=2", "data.samples_per_epoch=6"]),
    ],
    ids=["Ctrl-C", "SIGTERM, loading process", "end of an epoch", "end of an epoch without validation", "accumulation"],
)
def test_a_signal_leaves_a_checkpoint_that_goes_on_exactly(train, tmp_path, number, code, step, saved, more):
    train(tmp_path / "whole", *more)
    done = train(tmp_path / "stopped", *more, signalled=(int(number), step), check=False)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("stopped by ")]
    assert f"after step {saved}: wrote {tmp_path / 'stopped' / 'last.ckpt'}" in line
    assert torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)["global_step"] == saved
    assert not (tmp_path / "stopped" / "result.json").exists()
    train(tmp_path / "stopped", *more, "ckpt_path=auto")
    assert same(tmp_path / "whole", tmp_path / "stopped")
    assert last_validation(tmp_path / "stopped") == pytest.approx(last_validation(tmp_path / "whole"), abs=1e-5)


@pytest.mark.slow
def test_a_checkpoint_every_few_steps_goes_on_exactly(train, tmp_path):
    every = ["callbacks.checkpoint.every_n_steps=2"]
    train(tmp_path / "whole", *every)
    killed = train(tmp_path / "killed", *every, signalled=(int(signal.SIGKILL), 7), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"] == 6
    train(tmp_path / "killed", *every, "ckpt_path=last")
    assert same(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture
def fit(phantom, cache_dir, tmp_path):
    """Trains in this process as mmreg-train would, two steps an epoch; returns the last checkpoint."""

    def run(name, *overrides):
        common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", f"output_dir={tmp_path / name}"]
        common += ["data.samples_per_epoch=2", "callbacks.progress=null", "trainer.max_steps=2"]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = compose("train", [*TINY, *common, *overrides])
        fit_training(config)
        return torch.load(tmp_path / name / "last.ckpt", weights_only=True)

    yield run
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_resuming_keeps_the_configuration(fit, tmp_path, capsys):
    first = fit("first", "ckpt_path=auto")  # there is nothing yet
    path = tmp_path / "first" / "last.ckpt"
    assert first["mmreg_configuration"]["settings"]["optimizer"]["lr"] == 0.006
    changed = ["optimizer.lr=0.1", "optimizer.weight_decay=0.5", "training.warmup=0.0", "trainer.max_steps=4"]
    with pytest.raises(UserError, match=r"training\.warmup=0\.4 \(now 0\.0\), optimizer\.lr=0\.006 \(now 0\.1\)"):
        fit("second", *changed, f"ckpt_path={path}")
    for other in ("loss=mse", "data.spacing=10", "seed=2", "data.organs=[liver]"):
        with pytest.raises(UserError, match=f"^ckpt_path={path}: was trained with {other.partition('=')[0]}"):
            fit("second", other, "trainer.max_steps=4", f"ckpt_path={path}")
    assert not (tmp_path / "second").exists()
    capsys.readouterr()
    second = fit("second", changed[0], changed[-1], f"ckpt_path={path}", "resume=override")
    assert "resumed with optimizer.lr=0.1 in place of 0.006" in capsys.readouterr().out
    (group,) = second["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == 0.1 and second["lr_schedulers"][0]["base_lrs"] == [0.1]
    assert second["mmreg_configuration"]["settings"]["optimizer"]["lr"] == 0.1
    moved = [(second["state_dict"][name] - value).abs().max() for name, value in first["state_dict"].items()]
    assert max(moved) > 0.02, "0.006 could not move a weight so far in two steps of AdamW"
    third = fit("first", "ckpt_path=auto", "trainer.max_steps=4", "data.num_workers=0", "logger.csv.name=other")
    assert third["global_step"] == 4


@pytest.mark.slow
def test_a_checkpoint_of_before_is_resumed_and_says_what_it_lacks(fit, tmp_path, capsys):
    first = fit("first")
    del first["mmreg_configuration"]
    torch.save(first, tmp_path / "first" / "last.ckpt")
    assert fit("first", "ckpt_path=last", "trainer.max_steps=4")["global_step"] == 4
    assert "does not hold its configuration, which cannot be compared with this one" in capsys.readouterr().out


@pytest.mark.slow
def test_fine_tuning_begins_with_weights_alone(fit, tmp_path, capsys):
    first = fit("first", "optimizer.lr=0.02")
    best = f"init_from={tmp_path / 'first' / 'last.ckpt'}"
    capsys.readouterr()
    tuned = fit("tuned", best, "data.organs=[spleen,liver]", "optimizer.lr=0", "loss=mse", "features.channels=17")
    told = capsys.readouterr().out
    assert f"{best}: weights taken; output channels that begin afresh: " in told
    assert tuned["global_step"] == 2 and tuned["hyper_parameters"]["features"]["channels"] == 17
    stem = next(name for name in first["state_dict"] if "stem" in name)
    assert torch.equal(tuned["state_dict"][stem], first["state_dict"][stem])
    with pytest.raises(UserError, match="cannot be used with ckpt_path=.*, name one of them"):
        fit("other", best, f"ckpt_path={tmp_path / 'first' / 'last.ckpt'}", "optimizer.lr=0.02", "trainer.max_steps=4")
    # The same command goes on where it was stopped.
    again = ["data.organs=[spleen,liver]", "optimizer.lr=0", "loss=mse", "features.channels=17"]
    assert fit("tuned", best, *again, "ckpt_path=auto", "trainer.max_steps=4")["global_step"] == 4
