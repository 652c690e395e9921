"""Loading a trained module."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.module import DescentModule

TRUSTED = ("mmreg_lightning", "torch.optim")
"""Packages whose classes a checkpoint may name; the environment variable MMREG_TRUST adds more, separated by commas."""


def load_checkpoint(path: str | Path) -> DescentModule:
    """The module of a checkpoint, on the CPU, in evaluation mode.

    Nothing but tensors and plain types is unpickled (``weights_only=True``), and no class is built but those of
    trusted packages: a checkpoint from elsewhere cannot run code of its own.

    Raises:
        UserError: there is no such file, it is no checkpoint that this version of the package wrote, or it names a
            class of a package that is not trusted.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--checkpoint {file}: there is no such file")
    try:
        hyperparameters = torch.load(file, map_location="cpu", weights_only=True)["hyper_parameters"]
        _check_trusted(file, hyperparameters)
        module: DescentModule = DescentModule.load_from_checkpoint(file, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"--checkpoint {file}: damaged, or no checkpoint of mmreg-train") from error
    return module.eval()


def _check_trusted(file: Path, hyperparameters: Any) -> None:
    trusted = [*TRUSTED, *filter(None, os.environ.get("MMREG_TRUST", "").split(","))]
    for target in _targets(hyperparameters):
        if not any(target.startswith(f"{package}.") for package in trusted):
            package = target.partition(".")[0]
            raise UserError(
                f"--checkpoint {file}: names {target}; if you trust the package {package}, set MMREG_TRUST={package}"
            )


def _targets(node: Any) -> Iterator[str]:
    """Every class that a configuration would build."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)
