"""The Dice of each organ as a table of W&B."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from mmreg_lightning.training.tracking.tracked_run import TrackedRun

COLUMNS = ["organ", "mean Dice", "lowest Dice", "pairs"]


class OrganTable(pl.Callback):
    """Sends ``val/organs`` at the end of every validation, but not of Lightning's sanity check."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        rows = organ_rows(pl_module.validated)  # type: ignore[arg-type]
        for logger in trainer.loggers:
            if isinstance(logger, TrackedRun):
                logger.log_table("val/organs", columns=COLUMNS, data=rows, step=trainer.global_step)


def organ_rows(cases: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Rows of ``COLUMNS``: Dice in [0, 1] over the validation pairs whose two images show the organ.

    Args:
        cases: ``DescentModule.validated``.
    """
    organs: dict[str, list[float]] = {}
    for case in cases:
        for organ, dice in case["organs"].items():
            if not math.isnan(dice):
                organs.setdefault(organ, []).append(dice)
    return [[organ, statistics.fmean(values), min(values), len(values)] for organ, values in organs.items()]
