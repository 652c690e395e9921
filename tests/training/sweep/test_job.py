"""One training of a multirun: what a search is told, and whose folder it takes."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import folder_lock
from mmreg_lightning.training.sweep.job import _own_folder, objective
from mmreg_lightning.training.sweep.record import RunIdentity, read_identity, write_identity

OWN = RunIdentity("1" * 64, "d" * 64, "data", ["seed=1"])
FOREIGN = RunIdentity("2" * 64, "d" * 64, "data", ["seed=2"])
TRAIN = Path(__file__).resolve().parents[3] / "scripts" / "train.py"


def test_what_a_search_is_told():
    config = OmegaConf.create({"objective": "val/dice"})
    assert objective(config, {"val/dice": 0.5, "val/cosine": 0.1}) == 0.5
    assert objective(config, {}) is None, "a training that failed"
    assert objective(config, {"val/dice": float("nan")}) is None
    with pytest.raises(UserError, match="objective=val/dice: not among the metrics of a training, train/loss"):
        objective(config, {"train/loss": 0.5})


def _other_training(folder, begun, end):
    """One that is no run of the sweep begins in a folder of it, and notes so late."""
    with folder_lock(folder):
        begun.set()
        end.wait(60)
        write_identity(FOREIGN, folder)


def test_a_folder_that_another_training_holds_is_waited_for_and_left_to_it(tmp_path, capsys):
    context = multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()
    other = context.Process(target=_other_training, args=(tmp_path / "run", begun, end))
    other.start()
    assert begun.wait(60)
    waker = context.Process(target=lambda: (time.sleep(1), end.set()))
    waker.start()
    with _own_folder(tmp_path, tmp_path / "run", OWN) as out:
        assert out == tmp_path / "run-111111" and read_identity(out) == OWN
        with pytest.raises(UserError, match="run-111111 is in use by process"), folder_lock(out):
            pass
    other.join()
    waker.join()
    assert read_identity(tmp_path / "run") == FOREIGN
    assert f"waiting for process {other.pid} on" in capsys.readouterr().out


@pytest.mark.slow
def test_no_failure_is_noted_in_the_folder_of_a_training_under_way(phantom, cache_dir, tmp_path):
    """The same training in the same folder, begun by hand: the run of the sweep waits, and takes its result."""
    common = ["experiment=phantom_tiny", f"data.root={phantom}", f"data.cache_dir={cache_dir}", "trainer.max_steps=2"]
    multirun = [sys.executable, str(TRAIN), "-m", *common, f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=run"]
    with folder_lock(tmp_path / "run"):
        swept = subprocess.Popen(multirun, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "identity.json").exists():
            assert time.monotonic() < end and swept.poll() is None
            time.sleep(0.2)
        time.sleep(2)
        assert swept.poll() is None and not (tmp_path / "run" / "failure.txt").exists()
    out, err = swept.communicate(timeout=120)
    assert swept.returncode == 0 and "waiting for process" in out, err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]["val/dice"] > 0
    assert not (tmp_path / "run" / "failure.txt").exists()
