"""Which W&B run a training is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.files import write_text

RUN_ID = "wandb_run_id.txt"
"""In the folder of a training whose logger was on."""


def identified(logger: Mapping[str, Any], out: Path, sweep: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """A logger's configuration; W&B's goes on with the run that was begun in this folder, and knows its sweep.

    Args:
        logger: one entry of the configuration group ``logger``.
        out: folder of the training.
        sweep: name of the multirun that it is part of.
        overrides: as they were given.
    """
    if not str(logger["_target_"]).endswith(("WandbLogger", "TrackedRun")):
        return dict(logger)
    if "WANDB_SWEEP_ID" in os.environ:
        # An agent of W&B has named the run and its sweep already.
        write_text(out / RUN_ID, os.environ.get("WANDB_RUN_ID", ""))
        return dict(logger)
    own = run_id(out)
    if own is None:
        own = secrets.token_hex(4)
        write_text(out / RUN_ID, own)
    known: dict[str, Any] = {"id": own, "resume": "allow"}
    if sweep is not None:
        # W&B allows tags of up to 64 characters.
        known |= {"group": sweep, "tags": [tag for tag in overrides if len(tag) <= 64]}
    return {**known, **logger}


def run_id(folder: Path) -> str | None:
    """The W&B run of the training in this folder; None where the logger was off."""
    path = folder / RUN_ID
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
