"""The artifacts of a tracked training: what is in them, what is not, and when there are none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.training.tracking.lineage import data_set_artifact, files_artifact, log_results, use_data_set
from mmreg_lightning.training.tracking.tracked_run import TrackedRun


def content(artifact: Any, name: str) -> bytes:
    return Path(artifact.manifest.entries[name].local_path).read_bytes()


def test_artifacts_lead_from_the_data_set_to_the_results(server: MagicMock, phantom: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("state", ["offline", "disabled"])
def test_a_run_without_a_server_gets_no_artifacts(state: str, server: MagicMock, phantom: Path, tmp_path: Path) -> None:
    setattr(server, state, True)
    run = TrackedRun()
    use_data_set(run, Learn2RegDataset.read(phantom))
    log_results(run, tmp_path, {})
    assert not server.use_artifact.called and not server.log_artifact.called


def test_a_server_that_refuses_an_artifact_ends_the_tracking_only(
    server: MagicMock, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.use_artifact.side_effect = ValueError("the quota\nis used up")
    run = TrackedRun()
    use_data_set(run, Learn2RegDataset.read(phantom))
    log_results(run, tmp_path, {})
    assert caplog.messages == ["W&B failed (ValueError: the quota is used up), the training goes on without it"]
    assert not server.log_artifact.called


def test_another_description_is_another_version_of_the_data_set(phantom: Path, tmp_path: Path) -> None:
    dataset = Learn2RegDataset.read(phantom)
    changed = tmp_path / "Demo_dataset.json"
    changed.write_bytes(dataset.description.read_bytes() + b" ")
    first = data_set_artifact(dataset)
    second = data_set_artifact(dataclasses.replace(dataset, description=changed))
    assert first.digest == data_set_artifact(dataset).digest != second.digest
    assert second.metadata == {
        "root": str(phantom.resolve()),
        "description_sha256": hashlib.sha256(changed.read_bytes()).hexdigest(),
        "modalities": [dataset.fixed_modality, dataset.moving_modality],
        "labels": {str(i): name for i, name in dataset.label_names.items()},
        "training_images": 6,
    }


def test_a_name_that_wandb_would_refuse_is_changed(phantom: Path) -> None:
    dataset = dataclasses.replace(Learn2RegDataset.read(phantom), name="Abdomen MR/CT (2.1)-b")
    assert data_set_artifact(dataset).name == "Abdomen_MR_CT__2.1_-b"


def test_what_a_training_has_not_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "cases").mkdir(parents=True)
    (tmp_path / "pictures" / "cases" / "a.png").write_bytes(b"picture")
    artifact = files_artifact("x", "results", tmp_path, ("metrics.csv", "pictures"), {"val/dice": 0.25})
    assert list(artifact.manifest.entries) == ["pictures/cases/a.png"]
    assert content(artifact, "pictures/cases/a.png") == b"picture"
    assert artifact.metadata == {"val/dice": 0.25}
