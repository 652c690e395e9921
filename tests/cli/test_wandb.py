"""Real offline W&B runs, read back from their own files; W&B that fails; and what an agent of its sweeps would run."""

from __future__ import annotations

import csv
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from trainings import recorded_warnings
from wandb import wandb_agent

from mmreg_lightning.config import CONF_DIR

COMMAND = [sys.executable, "-c", "from mmreg_lightning.cli.train import entry; entry()"]
REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["data.spacing=12", "features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1"]


BLOCK = 32768  # the file is LevelDB's log: records in parts, none of which crosses the border of a block


def records(file: Path) -> list:
    """Everything that a ``.wandb`` file holds: a header of 7 bytes, then parts of checksum, length, kind and data."""
    from wandb.proto import wandb_internal_pb2

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    found, message, position = [], b"", 7
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # no room for another part in this block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        message += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            found.append(record)
            message = b""
    return found


def environment(**more: str) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return {**ours, "PYTHONPATH": str(REPOSITORY), "WANDB_SILENT": "true", **more}


@pytest.mark.slow
def test_offline_run_holds_config_metrics_table_and_pictures(phantom, cache_dir, tmp_path):
    overrides = [
        f"data.root={phantom}",
        f"data.cache_dir={cache_dir}",
        f"hydra.run.dir={tmp_path}/out",
        "logger=wandb",
        "trainer.max_steps=2",
        "trainer.log_every_n_steps=1",
        "data.samples_per_epoch=2",
    ]
    done = subprocess.run(
        [*COMMAND, *TINY, *overrides],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "out"))
    (run,) = (tmp_path / "out" / "wandb").glob("offline-run-*")
    content = records(next(run.glob("*.wandb")))

    config = {}
    history: dict[str, list] = {}
    summary = {}
    for record in content:
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for source in (record.run.config.update, record.config.update):
            config.update({item.key: json.loads(item.value_json) for item in source})
        for item in record.history.item:
            history.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
    assert config["data"]["root"] == str(phantom)
    assert config["features"]["width"] == 4
    assert config["command"].startswith("mmreg-train data.spacing=12 features=cnn ")
    assert config["metrics"]["val/folds_percent"] == {"unit": "%", "goal": "minimize"}
    assert config["data_facts"]["splits"]["train"]["MR"] == {"images": 3, "subjects": 3}
    assert config["git"] is None or re.fullmatch("[0-9a-f]{40}", config["git"]["commit"])
    assert len(history["train/loss"]) == 2
    assert summary["val/dice_best"] == pytest.approx(max(history["val/dice"]))
    assert 0 <= history["val/dice"][-1] <= 1
    pictures = sorted(path.name.split("_")[0] for path in (run / "files" / "media" / "images" / "val").glob("*.png"))
    assert pictures == ["features", "registration"]
    (file,) = (run / "files" / "media" / "table" / "val").glob("organs_*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["organ", "mean Dice", "lowest Dice", "pairs"]
    dice = {row[0]: row[1] for row in table["data"]}
    assert "liver" in dice and sum(dice.values()) / len(dice) == pytest.approx(history["val/dice"][-1], abs=1e-6)
    measured = {item.key for record in content for item in record.stats.item}
    assert any(key.startswith("proc.memory") for key in measured), "system metrics"
    assert any(record.HasField("exit") for record in content), "the run was not finished"


@pytest.mark.slow
def test_a_sweep_is_a_group_and_a_resumed_run_the_same_run(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "logger=wandb", "data.samples_per_epoch=1", *TINY]
    multirun = ["-m", "seed=3", f"hydra.sweep.dir={tmp_path}/my_sweep", "hydra.sweep.subdir=run"]
    resumed = [f"hydra.run.dir={tmp_path}/my_sweep/run", "ckpt_path=last", "seed=3"]
    for steps, more in ((1, multirun), (2, resumed)):
        argv = [*COMMAND, *more, *common, f"trainer.max_steps={steps}"]
        done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
        if steps == 1:
            printed = done.stdout
    runs = []
    for file in sorted((tmp_path / "my_sweep" / "run").glob("wandb/offline-run-*/*.wandb")):
        runs += [record.run for record in records(file) if record.WhichOneof("record_type") == "run"]
    assert len({run.run_id for run in runs}) == 1 and len(runs) >= 2
    assert runs[0].run_group == "my_sweep" and "seed=3" in runs[0].tags
    assert f"W&B group my_sweep: runs {runs[0].run_id} " in printed, "the report names the runs"


KILLER = """
import os, signal
from pathlib import Path
import pytorch_lightning as pl

class Killer(pl.Callback):
    # Kills W&B's own process after the first step of the first training.

    def on_train_batch_end(self, trainer, *_):
        done = Path(__file__).with_name("done")
        for stat in [] if done.exists() else Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue
            if name == "wandb-core" and int(rest.split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
                done.touch()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for a process in /proc")
def test_a_tracker_that_is_killed_does_not_end_the_trainings(phantom, cache_dir, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER)
    overrides = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "logger=wandb", "data.samples_per_epoch=2"]
    overrides += ["trainer.max_steps=4", "trainer.log_every_n_steps=1", "+callbacks.killer._target_=killer.Killer"]
    multirun = ["-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=${seed}"]
    done = subprocess.run(
        [*COMMAND, *multirun, *TINY, *overrides],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{REPOSITORY}{os.pathsep}{tmp_path}"),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "sweep")) and (tmp_path / "done").exists()
    assert done.stdout.count("W&B failed (") == 1 and "the training goes on without it" in done.stdout
    for seed in "12":
        folder = tmp_path / "sweep" / seed
        with open(folder / "metrics.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2", "3"]
        assert {"1", "3"} <= {row["step"] for row in rows if row["val/dice"]}
        assert (folder / "result.json").is_file() and (folder / "last.ckpt").is_file()
    second = records(next((tmp_path / "sweep" / "2").glob("wandb/offline-run-*/*.wandb")))
    assert any(record.HasField("exit") for record in second), "the next training has a run of its own"


@pytest.mark.slow
def test_no_account_does_not_end_a_training(phantom, cache_dir, tmp_path):
    overrides = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "logger=wandb", "trainer.max_steps=1"]
    done = subprocess.run(
        [*COMMAND, *TINY, *overrides, f"hydra.run.dir={tmp_path}/out"],
        cwd=tmp_path,
        env=environment(WANDB_MODE="online", HOME=str(tmp_path), NETRC=str(tmp_path / "none")),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, recorded_warnings(tmp_path / "out"))
    assert done.stdout.count("W&B failed (UsageError") == 1, "WANDB_MODE=online is respected, and there is no account"
    assert (tmp_path / "out" / "result.json").is_file()


@pytest.mark.slow
def test_what_an_agent_of_wandb_composes_trains(phantom, cache_dir, tmp_path, monkeypatch):
    # Without a server: the agent's own code makes the command and its environment.
    sweep = yaml.safe_load((CONF_DIR / "sweep" / "wandb.yml").read_text())
    assert sweep["metric"] == {"name": "val/dice", "goal": "maximize"}
    started = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **kwargs: started.append(kwargs) or type("P", (), {})())
    for key in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(key, "")  # the agent sets them: monkeypatch takes them back
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._sweep_command, agent._function, agent._in_jupyter = sweep["command"], None, False
    agent._run_processes, agent._forward_signals = {}, False
    chosen = {key: spec["values"][-1] if "values" in spec else spec["max"] for key, spec in sweep["parameters"].items()}
    arguments = {key: {"value": value} for key, value in chosen.items()}
    agent._command_run({"run_id": "named123", "program": sweep["program"], "args": arguments})
    (process,) = started
    assert process["command"][0] == "mmreg-train"
    argv = [*COMMAND, *process["command"][1:], *TINY, f"data.root={phantom}", f"data.cache_dir={cache_dir}"]
    kept = {key: value for key, value in process["env"].items() if key.startswith("WANDB_")}
    done = subprocess.run(
        [*argv, "trainer.max_steps=1"],
        cwd=tmp_path,
        env=environment(**{**kept, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "outputs" / "wandb_sweep" / "named123"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.02 and config["descent"]["unrolled_steps"] == 4
    assert config["descent"]["step"]["regulariser"]["_target_"].endswith("DiffusionRegulariser")
    (file,) = out.glob("wandb/offline-run-*-named123/*.wandb")
    run = next(record.run for record in records(file) if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.sweep_id) == ("named123", "sweep123")
