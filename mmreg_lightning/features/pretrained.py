"""Weights that the package carries, by name, and every other file that holds trained features."""

from __future__ import annotations

import re
from pathlib import Path

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import TrainedModel, load_checkpoint
from mmreg_lightning.features.weights import SUFFIX, read_weights

WEIGHTS_DIR = Path(__file__).resolve().parent.parent / "weights"
"""Inside the package, in a wheel as in a checkout."""
PRETRAINED = "pretrained"
"""Stands for the newest of the shipped weights that are for images of any kind."""
_GENERAL = "generalist"


def shipped_weights(folder: Path = WEIGHTS_DIR) -> dict[str, Path]:
    """Names of the weights in a folder and their files, those of a family by rising number."""
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: _number(path.stem))}


def find_weights(reference: str, parameter: str, folder: Path = WEIGHTS_DIR) -> Path:
    """The file of weights that a name stands for.

    Args:
        reference: ``pretrained`` (the newest generalist), a name of ``shipped_weights``, or the path of a .safetensors
            file.
        parameter: that gave it, for messages.
        folder: of the shipped weights.

    Raises:
        UserError: nothing is shipped, or not under this name.
    """
    shipped = shipped_weights(folder)
    if reference in shipped:
        return shipped[reference]
    if reference.endswith(SUFFIX):
        return Path(reference)
    newest = [name for name in shipped if _number(name)[0] == _GENERAL]
    if reference == PRETRAINED and newest:
        return shipped[newest[-1]]
    if not shipped:
        raise UserError(
            f"{parameter}={reference}: no weights are shipped with this version yet, name a {SUFFIX} file of "
            "scripts/export_weights.py"
        )
    names = ", ".join([*([PRETRAINED] if newest else []), *shipped])
    raise UserError(f"{parameter}={reference}: must be one of {names}, or a {SUFFIX} file")


def names_weights(reference: str, folder: Path = WEIGHTS_DIR) -> bool:
    """Whether a text is for ``find_weights``, as it is no path of another file."""
    return reference == PRETRAINED or reference in shipped_weights(folder) or reference.endswith(SUFFIX)


def load_model(reference: str | Path, parameter: str, folder: Path = WEIGHTS_DIR) -> TrainedModel:
    """Trained features of shipped weights, of a file of weights or of a checkpoint.

    Args:
        reference: see ``find_weights``; or the path of a checkpoint of mmreg-train.
        parameter: that gave it, for messages.
        folder: of the shipped weights.

    Raises:
        UserError: see ``find_weights``, ``read_weights`` and ``load_checkpoint``.
    """
    text = str(reference)
    if names_weights(text, folder) or not (Path(text).suffix or Path(text).exists()):
        return read_weights(find_weights(text, parameter, folder), parameter)
    return load_checkpoint(text, parameter)


def _number(name: str) -> tuple[str, int]:
    """``("generalist", 2)`` of generalist-2."""
    found = re.fullmatch(r"(.*)-(\d+)", name)
    return (name, 0) if found is None else (found[1], int(found[2]))
