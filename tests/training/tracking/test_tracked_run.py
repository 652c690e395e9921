"""A W&B run that fails in every way."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from mmreg_lightning.training.sweep.record import RUN_ID, run_id
from mmreg_lightning.training.tracking.tracked_run import INIT_TIMEOUT, TrackedRun, identified, tracking


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_run_that_cannot_begin_is_told_once(server, caplog):
    wandb.init.side_effect = OSError("no\nroom")
    run = TrackedRun()
    for step in range(2):
        run.log_hyperparams({"a": 1})
        run.log_metrics({"a": 1.0}, step)
    assert not run.uploads and wandb.init.call_count == 1
    assert warnings(caplog) == ["W&B failed (OSError: no room), the training goes on without it"]


@pytest.mark.parametrize("call", ["log", "finish", "image", "table"])
def test_nothing_that_fails_is_raised(call, server, caplog):
    server.log.side_effect = server.finish.side_effect = RuntimeError("gone")
    run = TrackedRun()
    with tracking([run]) as runs:
        assert runs == [run]
        run.log_hyperparams({"a": 1})
        if call == "log":
            run.log_metrics({"a": 1.0}, 1)
            run.log_metrics({"a": 1.0}, 2)
        elif call == "image":
            run.log_image("a", ["nowhere.png"], step=1)
        elif call == "table":
            run.log_table("a", columns=["one"], data=[[1, 2]])
    assert len(warnings(caplog)) == 1 and warnings(caplog)[0].startswith("W&B failed (")
    assert wandb.run is None, "the next training would join it"


def test_it_is_finished_always(server):
    run = TrackedRun()
    with pytest.raises(KeyError), tracking([run]):
        run.log_metrics({"a": 1.0})
        raise KeyError("training")
    server.finish.assert_called_once_with(exit_code=1)
    with tracking([TrackedRun()]) as (run,):
        run.log_metrics({"a": 1.0})
    server.finish.assert_called_with(exit_code=0)


@pytest.mark.parametrize(
    ("offline", "environment", "mode"),
    [(True, None, "offline"), (False, None, "online"), (True, "online", None), (False, "disabled", None)],
)
def test_the_environment_chooses_the_mode(offline, environment, mode, server, monkeypatch):
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    TrackedRun(offline=offline).log_metrics({"a": 1.0})
    assert wandb.init.call_args.kwargs.get("mode") == mode  # where none is given wandb takes the environment's


def test_who_a_run_is(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    logger = {"_target_": "mmreg_lightning.training.tracking.tracked_run.TrackedRun", "project": "p"}
    first = identified(logger, tmp_path, "my_sweep", ["seed=3", "x" * 65])
    assert first["group"] == "my_sweep" and first["tags"] == ["seed=3"] and first["id"] == run_id(tmp_path)
    again = identified(logger, tmp_path, None, ["seed=3"])
    assert again["id"] == first["id"] and "group" not in again
    csv = {"_target_": "pytorch_lightning.loggers.CSVLogger"}
    assert identified(csv, tmp_path / "none", None, []) == csv and run_id(tmp_path / "none") is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "named")
    assert identified(logger, tmp_path, None, []) == logger
    assert (tmp_path / RUN_ID).read_text() == "named"


def test_a_server_that_does_not_answer_delays_the_start_by_seconds(tmp_path):
    """A process of its own, because wandb reads its environment once."""
    code = """
import time
from mmreg_lightning.training.tracking.tracked_run import TrackedRun
run = TrackedRun(offline=False, save_dir='.', project='p')
begun = time.monotonic()
run.log_hyperparams({'a': 1})
print(time.monotonic() - begun, run.uploads)
run.finish(failed=False)
"""
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system accepts what nobody reads
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")} | {
            "WANDB_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "WANDB_API_KEY": "a" * 40,
            "WANDB_SILENT": "true",
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
        )
    seconds, uploads = done.stdout.split()
    # What wandb takes to start its own process on a busy machine comes on top.
    assert done.returncode == 0 and uploads == "False" and INIT_TIMEOUT <= float(seconds) < 30, done
    assert done.stderr.startswith("W&B failed (CommError: "), done.stderr
    assert done.stderr.rstrip().endswith("the training goes on without it")


def test_the_patience_with_a_server(server, monkeypatch):
    def given(**kwargs):
        TrackedRun(**kwargs).log_hyperparams({})
        return wandb.init.call_args.kwargs.get("settings")

    assert given() == {"init_timeout": INIT_TIMEOUT} and INIT_TIMEOUT < 10
    assert given(settings={"console": "off", "init_timeout": 60}) == {"console": "off", "init_timeout": 60}
    own = wandb.Settings(init_timeout=70)
    assert given(settings=own) is own
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "80")
    assert not given()
