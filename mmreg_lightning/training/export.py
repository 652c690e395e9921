"""From the checkpoint of a training to a file of weights that the package can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.weights import write_weights
from mmreg_lightning.registration.families import family_of_checkpoint
from mmreg_lightning.registration.settings import solver_config
from mmreg_lightning.training.checkpoints import CONFIGURATION

_GROUPS = ("seed", "data", "descent", "targets", "loss", "training", "optimizer", "trainer")
"""Parts of a training's configuration that made its weights; features and solver are described anyway."""
_PLACES = ("cache_dir", "num_workers", "default_root_dir", "logger", "callbacks")


def export_weights(
    checkpoint: str | Path,
    out: str | Path,
    about: str | Path,
    *,
    spacing: float | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Write NAME.safetensors and NAME.json, see ``write_weights``.

    The description also says what the checkpoint knows of its training: the configuration, without the places of files
    on this machine, the number of steps and the version of the package.

    Args:
        checkpoint: of mmreg-train.
        out: NAME.safetensors.
        about: YAML file: ``trained_on``, a list of data with ``name`` and ``licence``, and what else is to be known, as
            ``measures``.
        spacing: of the working grid, mm; None is chosen for every fixed image.
        overrides: ``KEY=VALUE`` of the solver, as in mmreg-register: what suits the features best.

    Returns:
        The path of the description.

    Raises:
        UserError: a file cannot be used, or see ``write_weights``.
    """
    family = family_of_checkpoint(checkpoint)
    assert family.model is not None, "a checkpoint has a model"
    solver = solver_config(None, family, overrides)
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    configuration = stored.get(CONFIGURATION, {}).get("settings", {})
    training = {
        "package_version": stored.get("mmreg_lightning_version"),
        "steps": stored.get("global_step"),
        "configuration": without_places({key: configuration[key] for key in _GROUPS if key in configuration}),
    }
    told = {**read_about(about), "training": training}
    return write_weights(out, family.model, told, spacing=spacing, solver=solver)


def read_about(path: str | Path) -> dict[str, Any]:
    """Content of the YAML file about weights.

    Raises:
        UserError: there is no such file, or it holds no mapping.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"about={file}: there is no such file")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"about={file}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"about={file}: must hold keys and values, trained_on among them")
    return content


def without_places(node: Any) -> Any:
    """A configuration without what is of one machine: of an absolute path its last part stays."""
    if isinstance(node, Mapping):
        return {key: without_places(value) for key, value in node.items() if key not in _PLACES}
    if isinstance(node, list | tuple):
        return [without_places(value) for value in node]
    return Path(node).name if isinstance(node, str) and Path(node).is_absolute() else node
