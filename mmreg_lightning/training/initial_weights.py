"""The weights of another training that a training begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.pretrained import find_weights, names_weights, shipped_weights
from mmreg_lightning.features.weights import read_weights
from mmreg_lightning.training.checkpoints import UNREADABLE
from mmreg_lightning.training.module import DescentModule

_NAMED = 3
"""So many weights or channels are told."""
_SHARED = "features.stem.branches.all."
_ARCHITECTURE = ("_target_", "channels", "width", "widths", "depth", "norm", "stride", "self_similarity")
"""Settings of a network that its weights depend on, besides the stem."""


class _Beginning(NamedTuple):
    """What a file holds: weights as a module names them, its organs and the configuration of its features."""

    weights: dict[str, Tensor]
    organs: list[str]
    features: Mapping[str, Any]


def initialise(path: str, module: DescentModule) -> str:
    """Give a new module the weights of a checkpoint or of shipped features, as far as they fit.

    Channels of the output that stand for an organ are found by its name, the others by their order. A stem that all
    modalities shared becomes that of each modality where the module has one for each.

    Args:
        path: of a checkpoint of mmreg-train, or see ``find_weights``.
        module: as it begins.

    Returns:
        What was taken and what begins afresh, in one sentence.

    Raises:
        UserError: there is no such file or name, it is no checkpoint, or nothing of it fits.
    """
    begun = _read(path)
    old, organs, channels = begun.weights, begun.organs, int(begun.features["channels"])
    own = module.state_dict()
    each = any(name.startswith(_SHARED) for name in old) and not any(name.startswith(_SHARED) for name in own)
    if each:
        shared = {name.removeprefix(_SHARED): old.pop(name) for name in list(old) if name.startswith(_SHARED)}
        prefix = _SHARED.removesuffix("all.")
        old |= {f"{prefix}{m}.{name}": value for m in module.features.modalities for name, value in shared.items()}
    rows, fresh = _channel_rows(organs, channels, list(module.label_names.values()), module.features.channels)
    output = _output_names(own, module.features.channels)
    missing = []
    for name, value in own.items():
        if name in output and name in old and old[name].shape[1:] == value.shape[1:] and len(old[name]) == channels:
            for new_row, old_row in rows.items():
                value[new_row] = old[name][old_row]
        elif name in old and old[name].shape == value.shape:
            value.copy_(old[name])
        else:
            missing.append(name)
    if len(missing) == len(own):
        raise UserError(
            f"init_from={path}: none of its weights fits the features of this configuration{_how(begun, module)}"
        )
    module.load_state_dict(own)
    unused = [name for name in old if name not in own]
    parts = ["the stem of every modality begins as the shared one"] if each else []
    if missing:
        parts.append(f"begins afresh: {_some(missing)}{_how(begun, module)}")
    if fresh and not output & set(missing):
        parts.append(f"output channels that begin afresh: {_some(fresh)}")
    if unused:
        parts.append(f"not used: {_some(unused)}")
    return f"init_from={path}: weights taken" + "".join(f"; {part}" for part in parts)


def _read(path: str) -> _Beginning:
    weights = names_weights(path)
    if weights or (not Path(path).exists() and not Path(path).suffix and shipped_weights()):
        model = read_weights(find_weights(path, "init_from"), "init_from")
        state = {f"features.{name}": value for name, value in model.features.state_dict().items()}
        return _Beginning(state, [], model.hparams["features"])
    if not Path(path).is_file():
        raise UserError(f"init_from={path}: there is no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        old: dict[str, Tensor] = dict(checkpoint["state_dict"])
        hparams = checkpoint["hyper_parameters"]
        organs = [str(name) for name in dict(hparams["label_names"]).values()]
        begun = _Beginning(old, organs, {**hparams["features"], "channels": int(hparams["features"]["channels"])})
        finite = all(bool(torch.isfinite(value).all()) for value in old.values())
    except UNREADABLE as error:
        raise UserError(f"init_from={path}: damaged, or no checkpoint of mmreg-train") from error
    if not finite:
        raise UserError(f"init_from={path}: its weights are not finite numbers")
    return begun


def _how(begun: _Beginning, module: DescentModule) -> str:
    """The settings with which the network would be that of the file; empty where it is."""
    new = module.hparams["features"]
    differ = [key for key in _ARCHITECTURE if begun.features.get(key) != new.get(key)]
    if not differ or differ == ["channels"]:
        return ""
    words = [f"features.{key}={begun.features.get(key)}".replace(" ", "") for key in differ]
    return f" (its network has {' '.join(words)})"


def _channel_rows(old: list[str], old_count: int, new: list[str], count: int) -> tuple[dict[int, int], list[str]]:
    """Output channel -> that of the checkpoint; and those that have none, by organ or as "class N"."""
    rows = {index: old.index(name) for index, name in enumerate(new) if name in old}
    rows |= dict(zip(range(len(new), count), range(len(old), old_count), strict=False))
    return rows, [new[row] if row < len(new) else f"class {row + 1}" for row in range(count) if row not in rows]


def _output_names(state: Mapping[str, Tensor], channels: int) -> set[str]:
    """Weight and bias of the layer that makes the output: the network's last one of so many channels."""
    last = [name.rpartition(".")[0] for name, value in state.items() if value.ndim == 5 and len(value) == channels]
    return {name for name in state if last and name.rpartition(".")[0] == last[-1]}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
