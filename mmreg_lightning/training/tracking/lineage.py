"""Artifacts of a training that is tracked online: from the data set to the checkpoints and the results.

W&B keeps artifacts on its server. An offline run could only hold on to their files until a later ``wandb sync``, by
which time checkpoints may have changed, and cannot use any (``use_artifact`` raises): it gets none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.files import sha256
from mmreg_lightning.training.tracking.tracked_run import TrackedRun

_RESULTS = ("config.yaml", "result.json", "metrics.csv", "pictures")


def use_data_set(run: TrackedRun, dataset: Learn2RegDataset) -> None:
    """Note what the training learns from: numbers and a checksum, none of the images.

    Args:
        run: nothing is done where it has no server.
        dataset: of the training.
    """
    if run.uploads:
        run.attempt(lambda: run.experiment.use_artifact(data_set_artifact(dataset)))


def log_results(run: TrackedRun, out: Path, metrics: Mapping[str, float]) -> None:
    """Upload checkpoints and results of a finished training.

    Args:
        run: nothing is done where it has no server.
        out: folder of the training.
        metrics: of the last validation.
    """
    if not run.uploads:
        return

    def upload() -> None:
        name = f"checkpoint-{run.experiment.id}"
        run.experiment.log_artifact(files_artifact(name, "model", out, ("best.ckpt", "last.ckpt"), dict(metrics)))
        # W&B draws lines between artifacts and runs only: that the results are of this checkpoint is said here.
        results = {"checkpoint": name, **metrics}
        run.experiment.log_artifact(
            files_artifact(f"results-{run.experiment.id}", "results", out, _RESULTS, results), aliases=["latest"]
        )

    run.attempt(upload)


def data_set_artifact(dataset: Learn2RegDataset) -> Any:
    """A ``wandb.Artifact`` of type ``dataset``; another description of the data makes another version of it."""
    import wandb

    facts = {
        "root": str(Path(dataset.root).resolve()),
        "description_sha256": sha256(dataset.description),
        "modalities": [dataset.fixed_modality, dataset.moving_modality],
        "labels": {str(i): name for i, name in dataset.label_names.items()},
        "training_images": len(dataset.train),
    }
    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "_", dataset.name), type="dataset", metadata=facts)
    with artifact.new_file("facts.json", encoding="utf-8") as stream:
        json.dump(facts, stream, indent=2)
    return artifact


def files_artifact(name: str, kind: str, out: Path, wanted: tuple[str, ...], metadata: dict[str, Any]) -> Any:
    """A ``wandb.Artifact`` of those of the ``wanted`` files and folders that the training has written to ``out``."""
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=metadata)
    for entry in wanted:
        if (out / entry).is_dir():
            artifact.add_dir(str(out / entry), name=entry)
        elif (out / entry).is_file():
            artifact.add_file(str(out / entry), name=entry)
    return artifact
