"""Ctrl-C and SIGTERM end a training after its step, and leave a checkpoint that goes on from there."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from mmreg_lightning.training.checkpoints import is_last_batch, last_path, step_is_done, steps_done, write_last

_ECHO = 2.0
"""Seconds within which a signal is the same one again: a terminal's reaches a process that it is also passed on to."""
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def _end(number: int) -> BaseException:
    """What the signal raises: exit code 130 (see ``cli._app.run``) or 143."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def terminable() -> Iterator[None]:
    """In the block, SIGTERM raises ``SystemExit(143)``, as Ctrl-C raises ``KeyboardInterrupt``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: Any) -> None:
        raise _end(number)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class GracefulStop(pl.Callback):
    """Ends the training when a step is complete after the first Ctrl-C or SIGTERM, and at once after the second.

    One that comes in the last step of an epoch waits for the epoch's validation, because Lightning would not make up
    for it when the training goes on, and where the epoch has none for the next step. A line says so.
    """

    def __init__(self) -> None:
        self.signal = 0  # the one that came
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning, when its own handlers are set."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _NAMES}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        """Called by Lightning."""
        if not self._is_wanted(trainer) or not step_is_done(trainer):
            return
        if not is_last_batch(trainer):
            self._stop(trainer, write_last(trainer, None))
        elif trainer.is_global_zero:
            name = _NAMES[signal.Signals(self.signal or signal.SIGTERM)]
            print(f"{name} in the last step of an epoch: what belongs to it comes first, a second signal ends without")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning, after the validation and its last.ckpt."""
        # What would be written here is not gone on from exactly.
        last = last_path(trainer, None)
        if self._is_wanted(trainer) and steps_done(last) == trainer.global_step:
            self._stop(trainer, last)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Called by Lightning."""
        self._restore()

    def _note(self, number: int, frame: Any) -> None:
        if self.signal == number and time.monotonic() - self._when < _ECHO:
            return
        if self.signal:
            self._restore()
            raise _end(number)
        self.signal, self._when = number, time.monotonic()

    def _is_wanted(self, trainer: pl.Trainer) -> bool:
        if 0 < trainer.max_steps <= trainer.global_step:
            return False  # it ends anyway
        if trainer.world_size == 1:
            return bool(self.signal)
        # All processes must end after the same step.
        return bool(trainer.strategy.reduce_boolean_decision(bool(self.signal), all=False))

    def _stop(self, trainer: pl.Trainer, path: Path) -> None:
        number = self.signal or signal.SIGTERM
        self._restore()
        if trainer.is_global_zero:
            name = _NAMES[signal.Signals(number)]
            print(f"stopped by {name} after step {trainer.global_step}: wrote {path}, ckpt_path=auto goes on from it")
        raise _end(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
