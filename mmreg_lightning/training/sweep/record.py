"""What one training of a sweep leaves behind, and how it is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.files import write_json, write_text

RESULT, FAILURE = "result.json", "failure.txt"
RUN_ID = "wandb_run_id.txt"
"""Where a training whose W&B logger was on notes its run."""
# Where results and caches lie, who listens and what a search looks at does not change what is learned.
_PLACES = ("output_dir", "ckpt_path", "logger", "callbacks", "objective")


@dataclass(frozen=True)
class RunRecord:
    """A finished training.

    Attributes:
        fingerprint: of its resolved configuration.
        overrides: as they were given, ``KEY=VALUE``.
        metrics: of the last validation.
        cases: of each validation pair there, ``{"case": name, "dice": x, ...}``.
        seconds: of the training, validation included.
    """

    fingerprint: str
    overrides: Sequence[str]
    metrics: Mapping[str, float]
    cases: Sequence[Mapping[str, Any]]
    seconds: float


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A checksum of everything in a resolved configuration that decides what is learned."""
    kept = {key: value for key, value in settings.items() if key not in _PLACES}
    kept["data"] = {key: value for key, value in settings["data"].items() if key != "cache_dir"}
    kept["callbacks"] = sorted(
        json.dumps({k: v for k, v in callback.items() if k != "dirpath"}, sort_keys=True)
        for callback in settings["callbacks"].values()
        if callback is not None
    )
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def write_record(record: RunRecord, folder: Path) -> None:
    """Write result.json; a failure noted earlier is over."""
    write_json(folder / RESULT, asdict(record))
    (folder / FAILURE).unlink(missing_ok=True)


def write_failure(folder: Path, message: str) -> None:
    """Note why a training ended without a result."""
    write_text(folder / FAILURE, message.rstrip() + "\n")


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None where the run has not finished."""
    path = folder / RESULT
    return RunRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def finished_run(sweep: Path, wanted: str) -> tuple[Path, RunRecord] | None:
    """The finished run of a sweep's folder whose configuration has this fingerprint, if there is one."""
    for path in sorted(sweep.glob(f"*/{RESULT}")):
        record = read_record(path.parent)
        if record is not None and record.fingerprint == wanted:
            return path.parent, record
    return None


def run_id(folder: Path) -> str | None:
    """The W&B run of the training in this folder; None where the logger was off."""
    path = folder / RUN_ID
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
