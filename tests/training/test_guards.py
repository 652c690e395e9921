"""Trainings whose numbers are none: they stop with one sentence, and what was good stays."""

from __future__ import annotations

import errno
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import check_finite
from mmreg_lightning.training.guards import CheckpointFiles
from mmreg_lightning.training.module import DescentModule
from mmreg_lightning.training.run import train

TINY = ["data.spacing=12", "features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1"]
IMAGES = r"PhantomMRCT_\d{4}_0000.nii.gz and PhantomMRCT_\d{4}_0001.nii.gz"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def fit(phantom, cache_dir, out, monkeypatch):
    """Trains in this process, an epoch being two steps."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides):
        common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", f"output_dir={out}"]
        common += ["data.samples_per_epoch=2", "trainer.max_steps=8", "callbacks.progress=null"]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return train(compose("train", [*TINY, *common, *overrides]))

    return run


def steps(out):
    """Of both checkpoints, whose weights must be finite."""
    found = {}
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(out / name, weights_only=True)
        check_finite(checkpoint["state_dict"])
        found[name] = checkpoint["global_step"]
    return found


def spoil(monkeypatch, name, when, result):
    """Let a method of the module give ``result(what it gives)`` from its call number ``when`` on, counted from 1."""
    method, calls = getattr(DescentModule, name), []

    def spoilt(self, *args):
        calls.append(args)
        given = method(self, *args)
        return result(self, given) if len(calls) >= when else given

    monkeypatch.setattr(DescentModule, name, spoilt)


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite(fit, out, monkeypatch, value, text):
    spoil(monkeypatch, "training_step", 4, lambda self, loss: loss * value)
    sentence = (
        f"^step 4: the loss with {IMAGES} is {text}, so the training stops; best.ckpt and last.ckpt of before are in"
    )
    with pytest.raises(UserError, match=sentence):
        fit()
    assert steps(out) == {"best.ckpt": 2, "last.ckpt": 2} and not (out / "result.json").exists()


def test_weights_that_are_not_finite_after_a_finite_loss(fit, out, monkeypatch):
    def poisoned(self, loss):
        parameter = next(self.parameters())
        parameter.register_hook(lambda gradient: gradient * math.nan)
        return loss

    spoil(monkeypatch, "training_step", 3, poisoned)
    options = ["callbacks=[default,ema]", "callbacks.progress=null"]
    with pytest.raises(UserError, match=f"^step 3: the weights after the loss with {IMAGES} are not finite, so the"):
        fit(*options)
    assert steps(out) == {"best.ckpt": 2, "last.ckpt": 2} and not (out / "result.json").exists()


def test_a_training_that_fails_at_once_says_that_nothing_is_kept(fit, out, monkeypatch):
    spoil(monkeypatch, "training_step", 1, lambda self, loss: loss * math.nan)
    with pytest.raises(UserError, match="^step 1: .* stops; there is no checkpoint of before "):
        fit()
    assert not list(out.glob("*.ckpt"))


@pytest.mark.parametrize(("when", "step"), [(1, 0), (4, 4)])
def test_a_validation_that_is_not_finite(fit, out, monkeypatch, when, step):
    """One by Lightning's check before the training, and one after each epoch and for its picture."""

    def spoilt(self, found):
        return found._replace(displacement=found.displacement * math.nan)

    spoil(monkeypatch, "register", when, spoilt)
    with pytest.raises(UserError, match=f"^step {step}: the displacement of the validation pair 0004_to_0004 is not"):
        fit()
    assert not (out / "result.json").exists()
    if step:
        assert steps(out) == {"best.ckpt": 2, "last.ckpt": 2}


@pytest.mark.parametrize("loss", ["descent", "mse"])
@pytest.mark.parametrize("training", ["warmup", "paper"])
@pytest.mark.parametrize("rate", ["1e6", "1e3", "30"])
def test_a_learning_rate_far_too_large(fit, out, loss, training, rate):
    sentence = f"^step [1-4]: the weights after the loss with {IMAGES} are .* times as large as at the start .* stops; "
    with pytest.raises(UserError, match=sentence + ".* smaller optimizer.lr"):
        fit(f"optimizer.lr={rate}", f"loss={loss}", f"training={training}", "trainer.max_steps=4")
    for path in out.glob("*.ckpt"):
        check_finite(torch.load(path, weights_only=True)["state_dict"])
    assert not (out / "result.json").exists()


def test_a_training_does_not_stop_for_weights_that_grow_as_they_do(fit, out):
    """Ten times the largest learning rate of a shipped experiment, which is not good but no divergence."""
    fit("optimizer.lr=0.06", "trainer.max_steps=40", "data.samples_per_epoch=40", "callbacks.pictures=null")
    checkpoint = torch.load(out / "last.ckpt", weights_only=True)
    start = checkpoint["callbacks"]["DivergenceGuard"]["start"]
    weights = torch.cat([value.flatten() for value in checkpoint["state_dict"].values()])
    assert 1 < weights.square().mean().sqrt() / start < 10, "far from the 100 that stop it"


@pytest.mark.parametrize(("long", "stops"), [(1, True), (0.1, False)])
def test_a_long_training_may_grow_more(fit, out, monkeypatch, long, stops):
    monkeypatch.setattr("mmreg_lightning.training.guards.MOST_GROWTH", 0.9)
    monkeypatch.setattr("mmreg_lightning.training.guards._LONG", long)
    with pytest.raises(UserError, match="^step 1: the weights") if stops else nullcontext():
        fit("trainer.max_steps=1", "callbacks.pictures=null")


def test_a_resumed_training_compares_with_its_first_start(fit, out, monkeypatch):
    fit("trainer.max_steps=2")
    monkeypatch.setattr("mmreg_lightning.training.guards.MOST_GROWTH", 0.9)
    path = out / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["DivergenceGuard"]["start"] *= 10
    torch.save(checkpoint, path)
    fit("trainer.max_steps=4", "ckpt_path=last")  # a tenth of what it compares with
    checkpoint["callbacks"]["DivergenceGuard"]["start"] /= 20
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"^step 3: the weights .*; best.ckpt and last.ckpt of before are in"):
        fit("trainer.max_steps=4", "ckpt_path=last")


def test_a_full_disk_leaves_the_last_checkpoint_whole(fit, out, monkeypatch):
    write = Path.write_bytes

    def full(self, content):
        if out.joinpath("last.ckpt").exists() and self.name.endswith("last.ckpt"):
            write(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=f"^cannot write {out}/last.ckpt: No space left on device$"):
        fit()
    assert steps(out)["last.ckpt"] == 2
    assert sorted(path.name for path in out.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    assert not list(out.glob(".????????-*")), "no part of a file"


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    CheckpointFiles().save_checkpoint({"state_dict": {"w": torch.ones(2)}, "global_step": 3}, path)
    with pytest.raises(UserError, match="last.ckpt is not written: its weights are not finite"):
        CheckpointFiles().save_checkpoint({"state_dict": {"w": torch.tensor([1, math.nan])}}, path)
    assert torch.load(path, weights_only=True)["global_step"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_folder_in_use(fit, out):
    from mmreg_lightning.files import folder_lock

    with folder_lock(out), pytest.raises(UserError, match=f"{out} is in use by process"):
        fit()
    assert not (out / "config.yaml").exists()
