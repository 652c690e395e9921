"""What a tracked run says about itself besides its configuration, and the Dice of each organ."""

from __future__ import annotations

import math
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only

from mmreg_lightning.data.loaders import PairLoaders
from mmreg_lightning.training.tracking.tracked_run import TrackedRun


class Metric(NamedTuple):
    """Unit of a logged number, and whether more or less of it is better (None: neither); W&B has no field for them."""

    unit: str
    goal: str | None


METRICS = {
    "train/loss": Metric("1", "minimize"),
    "train/contrast_loss": Metric("1", "minimize"),
    "train/organ_loss": Metric("1", "minimize"),
    "train/descent_loss": Metric("1", "minimize"),
    "train/cosine": Metric("1", "maximize"),
    "val/dice": Metric("1", "maximize"),
    "val/dice_before": Metric("1", None),
    "val/cosine": Metric("1", "maximize"),
    "val/folds_percent": Metric("%", "minimize"),
    "val/sdlogj": Metric("1", "minimize"),
}


ORGAN_COLUMNS = ["organ", "mean Dice", "lowest Dice", "pairs"]


def describe(run: TrackedRun, command: str) -> None:
    """Add the command, the state of the code and the metrics' units and goals to the configuration of a run.

    Args:
        run: the configuration of the training has been logged already.
        command: as the shell would take it.
    """
    metrics = {name: metric._asdict() for name, metric in METRICS.items()}
    run.log_hyperparams({"command": command, "git": git_state(), "metrics": metrics})


def summarise(run: TrackedRun, checkpoints: Callback | None) -> None:
    """Add the best value of the metric that chooses checkpoints, as ``val/dice_best``.

    ``define_metric(summary="max")`` would put it in the place of the last value, which W&B's sweeps optimise.

    Args:
        run: of a finished training.
        checkpoints: ``trainer.checkpoint_callback``.
    """
    if isinstance(checkpoints, ModelCheckpoint) and checkpoints.best_model_score is not None:
        best = {f"{checkpoints.monitor}_best": float(checkpoints.best_model_score)}
        run.attempt(lambda: run.experiment.summary.update(best))


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit, branch and whether tracked files were changed, of the checkout that the code runs from.

    Args:
        folder: None is that of the package.

    Returns:
        None where the code is not under version control (an installed wheel), or there is no git.
    """
    here = Path(__file__).resolve().parents[2] if folder is None else folder

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=True
        )
        return done.stdout.strip()

    try:
        # An environment that lies inside some other repository is none of its files.
        git("ls-files", "--error-unmatch", "__init__.py")
        return {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


class DataSummary(pl.Callback):
    """Says what the training learns from: to the user, and as ``data_facts`` to the configuration of its runs.

    It does so when all images have been prepared, so that what it says of them has been looked at.

    Args:
        runs: of W&B.
        data: of the training.
    """

    def __init__(self, runs: Sequence[TrackedRun], data: PairLoaders) -> None:
        self.runs = runs
        self.data = data

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning."""
        facts, words = self.data.facts()
        print(words)
        for run in self.runs:
            run.log_hyperparams({"data_facts": facts})


class OrganTable(pl.Callback):
    """Sends the table ``val/organs`` at the end of every validation, but not of Lightning's sanity check."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        rows = organ_rows(pl_module.validated)  # type: ignore[arg-type]
        for logger in trainer.loggers:
            if isinstance(logger, TrackedRun):
                logger.log_table("val/organs", columns=ORGAN_COLUMNS, data=rows, step=trainer.global_step)


def organ_rows(cases: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Rows of ``ORGAN_COLUMNS``: Dice in [0, 1] over the validation pairs whose two images show the organ.

    Args:
        cases: ``DescentModule.validated``.
    """
    organs: dict[str, list[float]] = {}
    for case in cases:
        for organ, dice in case["organs"].items():
            if not math.isnan(dice):
                organs.setdefault(organ, []).append(dice)
    return [[organ, statistics.fmean(values), min(values), len(values)] for organ, values in organs.items()]
