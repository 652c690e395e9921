"""A W&B run that fails in every way, and what it would send to a server."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import wandb

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.training.sweep.record import RUN_ID, run_id
from mmreg_lightning.training.tracking.lineage import log_results, use_data_set
from mmreg_lightning.training.tracking.tracked_run import INIT_TIMEOUT, TrackedRun, identified, tracking


@pytest.fixture
def server(monkeypatch):
    """In the place of ``wandb.init``: gives a run that is online."""
    run = MagicMock(id="abcd1234", offline=False, disabled=False)
    monkeypatch.setattr(wandb, "init", MagicMock(return_value=run))
    monkeypatch.setattr(wandb, "run", None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return run


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


def content(artifact, name: str) -> bytes:
    return Path(artifact.manifest.entries[name].local_path).read_bytes()


def test_artifacts_lead_from_the_data_set_to_the_results(server, phantom, tmp_path):
    for name in ("best.ckpt", "last.ckpt", "config.yaml", "result.json", "other.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_text("a")
    run, dataset = TrackedRun(), Learn2RegDataset.read(phantom)
    use_data_set(run, dataset)
    log_results(run, tmp_path, {"val/dice": 0.5})
    (data,) = server.use_artifact.call_args.args
    assert data.type == "dataset" and list(data.manifest.entries) == ["facts.json"], "no image leaves the machine"
    assert json.loads(content(data, "facts.json")) == data.metadata
    assert data.metadata["root"] == str(phantom.resolve()) and data.metadata["training_images"] == 6
    model, results = (call.args[0] for call in server.log_artifact.call_args_list)
    assert (model.name, model.type) == ("checkpoint-abcd1234", "model")
    assert set(model.manifest.entries) == {"best.ckpt", "last.ckpt"} and content(model, "best.ckpt") == b"best.ckpt"
    assert (results.name, results.type) == ("results-abcd1234", "results")
    assert set(results.manifest.entries) == {"config.yaml", "result.json", "pictures/a.png"}
    assert results.metadata == {"checkpoint": "checkpoint-abcd1234", "val/dice": 0.5}


def test_an_offline_run_gets_no_artifacts(server, phantom, tmp_path):
    server.offline = True
    run = TrackedRun()
    use_data_set(run, Learn2RegDataset.read(phantom))
    log_results(run, tmp_path, {})
    assert not server.use_artifact.called and not server.log_artifact.called


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
