"""A real offline W&B run, read back from its own files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_offline_run_holds_config_metrics_and_pictures(phantom, cache_dir, tmp_path):
    overrides = [
        f"data.root={phantom}",
        f"data.cache_dir={cache_dir}",
        f"hydra.run.dir={tmp_path}/out",
        "logger=wandb",
        "trainer.max_steps=2",
        "trainer.log_every_n_steps=1",
        "data.samples_per_epoch=2",
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "WANDB_SILENT": "true"}
    environment.pop("WANDB_MODE", None)
    done = subprocess.run(
        [*COMMAND, *TINY, *overrides], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "out" / "wandb").glob("offline-run-*")
    content = records(next(run.glob("*.wandb")))

    config = {}
    history: dict[str, list] = {}
    for record in content:
        for source in (record.run.config.update, record.config.update):
            config.update({item.key: json.loads(item.value_json) for item in source})
        for item in record.history.item:
            history.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
    assert config["data"]["root"] == str(phantom)
    assert config["features"]["width"] == 4
    assert len(history["train/loss"]) == 2
    assert 0 <= history["val/dice"][-1] <= 1
    pictures = sorted(path.name.split("_")[0] for path in (run / "files" / "media" / "images" / "val").glob("*.png"))
    assert pictures == ["features", "registration"]
    assert any(record.HasField("exit") for record in content), "the run was not finished"


@pytest.mark.slow
def test_a_sweep_is_a_group_and_a_resumed_run_the_same_run(phantom, cache_dir, tmp_path):
    common = [f"data.root={phantom}", f"data.cache_dir={cache_dir}", "logger=wandb", "data.samples_per_epoch=1", *TINY]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "WANDB_SILENT": "true"}
    environment.pop("WANDB_MODE", None)
    multirun = ["-m", "seed=3", f"hydra.sweep.dir={tmp_path}/my_sweep", "hydra.sweep.subdir=run"]
    resumed = [f"hydra.run.dir={tmp_path}/my_sweep/run", "ckpt_path=last", "seed=3"]
    for steps, more in ((1, multirun), (2, resumed)):
        argv = [*COMMAND, *more, *common, f"trainer.max_steps={steps}"]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    runs = []
    for file in sorted((tmp_path / "my_sweep" / "run").glob("wandb/offline-run-*/*.wandb")):
        runs += [record.run for record in records(file) if record.WhichOneof("record_type") == "run"]
    assert len({run.run_id for run in runs}) == 1 and len(runs) >= 2
    assert runs[0].run_group == "my_sweep" and "seed=3" in runs[0].tags
