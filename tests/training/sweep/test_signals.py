"""A signal to a multirun whose trainings are processes of joblib's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmreg_lightning.files import folder_lock
from mmreg_lightning.training.sweep.signals import _parent, _workers

TRAIN = Path(__file__).resolve().parents[3] / "scripts" / "train.py"


def test_workers_are_this_processs_own(tmp_path):
    with folder_lock(tmp_path / "a"):
        assert list(_workers(tmp_path)) == [], "this process is no child of itself"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").write_text(f"process {child.pid} on {os.uname().nodename}\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".lock").write_text(f"process {child.pid} on elsewhere\n")
    assert list(_workers(tmp_path)) == [child.pid] and _parent(child.pid) == os.getpid()
    child.communicate(b"\n")
    assert list(_workers(tmp_path)) == [] and _parent(child.pid) is None


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_every_training_writes_its_last_checkpoint(phantom, cache_dir, tmp_path, number, code):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="is in the extra sweep")
    argv = [sys.executable, str(TRAIN), "-m", "experiment=phantom_tiny", f"data.root={phantom}", "seed=1,2"]
    argv += [f"data.cache_dir={cache_dir}", f"hydra.sweep.dir={tmp_path}", "hydra/launcher=joblib"]
    argv += ["trainer.max_steps=100000", "data.samples_per_epoch=50000", "hydra.launcher.n_jobs=2"]
    with open(tmp_path / "printed.txt", "w", encoding="utf-8") as printed:
        multirun = subprocess.Popen(argv, stdout=printed, stderr=printed, env={**os.environ, "OMP_NUM_THREADS": "1"})
        end = time.monotonic() + 120
        while sum("," in log.read_text() for log in tmp_path.glob("*/metrics.csv")) < 2:  # both have taken steps
            assert time.monotonic() < end and multirun.poll() is None, (tmp_path / "printed.txt").read_text()
            time.sleep(0.5)
        multirun.send_signal(number)
        assert multirun.wait(90) == code
    said = (tmp_path / "printed.txt").read_text()
    assert ": 2 trainings end after their steps" in said
    steps = {int(step) for step in re.findall(r"stopped by \S+ after step (\d+): wrote", said)}
    saved = [torch.load(path, weights_only=True)["global_step"] for path in tmp_path.glob("*/last.ckpt")]
    assert len(saved) == 2 and set(saved) == steps
    assert not list(tmp_path.glob("*/.lock")) and not list(tmp_path.glob("*/result.json"))
