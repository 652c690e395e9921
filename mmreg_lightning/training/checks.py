"""Values of a training's configuration that are refused before anything is read or computed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.training.tracking.description import METRICS

_LIMITS = ("limit_train_batches", "limit_val_batches")
_COUNTS = ("accumulate_grad_batches", "check_val_every_n_epoch")


def check_values(settings: Mapping[str, Any]) -> None:
    """Check numbers that would train nothing, and names of metrics that no training has.

    Args:
        settings: conf/train.yaml as plain types.

    Raises:
        UserError: the first of them.
    """
    trainer = settings["trainer"]
    for key in ("max_steps", "max_epochs"):
        value = trainer.get(key)
        if isinstance(value, int) and value != -1 and value < 1:
            raise UserError(f"trainer.{key}={value}: must be 1 or more, or -1 for no limit")
    for key in _LIMITS:
        if trainer.get(key) == 0:
            raise UserError(f"trainer.{key}={trainer[key]}: must be more than 0")
    for key in _COUNTS:
        if trainer.get(key) is not None:
            positive_int(f"trainer.{key}", trainer[key])
    check_metric("objective", settings["objective"])
    for name, callback in settings["callbacks"].items():
        # Lightning's ModelCheckpoint without a monitor keeps the last one; the best one needs to know of what.
        if callback is not None and (callback.get("monitor") is not None or callback.get("filename") == "best"):
            check_metric(f"callbacks.{name}.monitor", callback.get("monitor"))


def check_metric(key: str, name: Any) -> None:
    """Check the name of a metric.

    Args:
        key: of the setting.
        name: its value.

    Raises:
        UserError: no training has such a metric; the sentence names the nearest one.
    """
    if name is None:
        raise UserError(f"{key}=null: must be a metric of a training, as val/dice")
    if name not in METRICS:
        near = difflib.get_close_matches(str(name), METRICS, 1, cutoff=0)[0]
        raise UserError(f"{key}={name}: there is no such metric of a training, did you mean {near}?")


def check_accelerator(trainer: Mapping[str, Any]) -> None:
    """Check that the machine has what a trainer is to compute on.

    Raises:
        UserError: it has no usable GPU.
    """
    accelerator = trainer.get("accelerator")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={accelerator}: this machine has no usable CUDA GPU, trainer=cpu trains without one"
        )
