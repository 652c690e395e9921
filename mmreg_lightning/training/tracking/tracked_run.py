"""Lightning's W&B logger, made harmless: whatever W&B does, the training goes on."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from pytorch_lightning.loggers import Logger, WandbLogger

from mmreg_lightning.files import write_text
from mmreg_lightning.training.sweep.record import RUN_ID, run_id

log = logging.getLogger(__name__)

INIT_TIMEOUT = 8.0
"""Seconds that a server has to answer at the start, which W&B itself takes one or two longer for; its own are 90."""


class TrackedRun(WandbLogger):
    """A W&B run that can be lost: the first failure of W&B is told in one sentence, then nothing more is sent.

    A server that does not answer is one, after at most 10 s (or the environment's ``WANDB_INIT_TIMEOUT``).

    Args:
        offline: write the run to files, which ``wandb sync`` uploads; the environment's ``WANDB_MODE`` (``online``,
            ``offline``, ``disabled``) wins.
        kwargs: of ``WandbLogger`` and ``wandb.init``.
    """

    def __init__(self, offline: bool = True, **kwargs: Any) -> None:
        # Lightning's own `offline` would overwrite WANDB_MODE; wandb reads it where no mode is given.
        if not os.environ.get("WANDB_MODE"):
            kwargs["mode"] = "offline" if offline else "online"
        chosen = kwargs.get("settings") or {}
        if isinstance(chosen, Mapping) and "WANDB_INIT_TIMEOUT" not in os.environ:
            kwargs["settings"] = {"init_timeout": INIT_TIMEOUT, **chosen}
        super().__init__(**kwargs)
        self._wandb_init.pop("anonymous", None)  # wandb warns of it, whatever its value
        self._lost = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; something that swallows every call where it is lost, and in all processes but the first."""
        if not self._lost:
            try:
                return super().experiment
            except Exception as error:  # of any kind: no tracker is worth a training
                self._lose(error)
        return _DummyExperiment()

    @property
    def uploads(self) -> bool:
        """Whether there is a server that takes artifacts."""
        run = self.experiment
        return not (isinstance(run, _DummyExperiment) or run.offline or run.disabled)

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something with W&B; whatever it raises ends the tracking and not the training."""
        if self._lost:
            return
        try:
            action()
        except Exception as error:
            self._lose(error)

    def log_hyperparams(self, params: Any) -> None:
        """See ``WandbLogger``."""
        self.attempt(lambda: super(TrackedRun, self).log_hyperparams(params))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """See ``WandbLogger``."""
        self.attempt(lambda: super(TrackedRun, self).log_metrics(metrics, step))

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """See ``WandbLogger``."""
        self.attempt(lambda: super(TrackedRun, self).log_image(key, images, step, **kwargs))

    def log_table(self, key: str, *args: Any, **kwargs: Any) -> None:
        """See ``WandbLogger``."""
        self.attempt(lambda: super(TrackedRun, self).log_table(key, *args, **kwargs))

    def finish(self, failed: bool) -> None:
        """Close the run if it was begun: otherwise its last metrics are lost, and the next training joins it.

        Args:
            failed: mark it as failed.
        """
        run, self._experiment = self._experiment, None
        actions: list[Callable[[], object]] = [] if run is None else [lambda: run.finish(exit_code=int(failed))]
        if self._lost:
            # Otherwise the next training of a multirun would join this run and talk to its dead service.
            import wandb

            wandb.run = None
            actions.append(wandb.teardown)
        for action in actions:
            try:
                action()
            except Exception as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        why = " ".join(str(error).split())
        log.warning("W&B failed (%s: %s), the training goes on without it", type(error).__name__, why)


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


@contextmanager
def tracking(loggers: Sequence[Logger]) -> Iterator[list[TrackedRun]]:
    """Yield the tracked runs among the loggers of a training, and finish them, whatever happens in the block."""
    runs = [logger for logger in loggers if isinstance(logger, TrackedRun)]
    try:
        yield runs
    except BaseException:
        for run in runs:
            run.finish(failed=True)
        raise
    for run in runs:
        run.finish(failed=False)
