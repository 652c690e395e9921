"""Trained features of a checkpoint, read without PyTorch Lightning."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmreg_lightning.config import instantiate
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.learned import LearnedFeatures

TRUSTED = ("mmreg_lightning", "torch.optim")
"""Packages whose classes a checkpoint may name; the environment variable MMREG_TRUST adds more, separated by commas."""

_DESCRIPTORS = "descriptors"
"""The layer that ``features.self_similarity`` adds."""
_UNREADABLE = (pickle.PickleError, EOFError, OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class TrainedModel:
    """What a checkpoint of ``mmreg-train`` holds.

    Not the ``DescentModule`` itself: importing PyTorch Lightning takes longer than registering a small pair.

    Attributes:
        features: extractor with the trained weights, on the CPU, in evaluation mode.
        hparams: arguments of ``DescentModule``, plain types; those that registrations need, of a file of weights.
        path: of the file.
        general: for images of any modality and with any organs, as shipped weights are; ``modalities`` and
            ``label_names`` then say nothing about what may be registered.
    """

    features: LearnedFeatures
    hparams: Mapping[str, Any]
    path: Path
    general: bool = False

    @property
    def modalities(self) -> tuple[str, str]:
        """Fixed and moving modality."""
        return self.hparams["modalities"][0], self.hparams["modalities"][1]

    @property
    def label_names(self) -> dict[int, str]:
        """Organ name by label id."""
        return {int(i): name for i, name in self.hparams["label_names"].items()}


def load_checkpoint(path: str | Path, parameter: str = "checkpoint") -> TrainedModel:
    """Read the features of a checkpoint and the settings of their training.

    Only tensors and plain types are unpickled (``weights_only=True``), and only classes of trusted packages are
    built: a checkpoint from an unknown source cannot run its own code.

    Args:
        path: of the file.
        parameter: that named it, for messages.

    Raises:
        UserError: the file is missing or damaged, is not a checkpoint of ``mmreg-train``, or see ``build_features``
            and ``load_weights``.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{parameter}={file}: there is no such file")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        hparams = checkpoint["hyper_parameters"]
        features = build_features(hparams)
        prefix = "features."
        weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        load_weights(features, weights)
    except UserError as error:
        raise UserError(f"{parameter}={file}: {error}") from error
    except _UNREADABLE as error:
        raise UserError(f"{parameter}={file}: damaged, or no checkpoint of mmreg-train") from error
    return TrainedModel(features.eval(), hparams, file)


def build_features(hparams: Mapping[str, Any]) -> LearnedFeatures:
    """The network that hyper-parameters of a training describe, with random weights.

    Raises:
        UserError: it cannot be built, or they name a class of a package that is not trusted.
    """
    _check_trusted(hparams)
    features: LearnedFeatures = instantiate(hparams["features"], modalities=list(dict.fromkeys(hparams["modalities"])))
    return features


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a module the weights of a checkpoint.

    Raises:
        UserError: a weight is missing, unknown to the module or of another shape, or is not finite.
    """
    own = module.state_dict()
    missing, unknown = [key for key in own if key not in weights], [key for key in weights if key not in own]
    described = [key for key in {**own, **weights} if key.rpartition(".")[0].endswith(_DESCRIPTORS)]
    if described and described in (missing, unknown) and not (missing and unknown):
        raise UserError(
            "was trained with another features.self_similarity (checkpoints from before there was this setting: false)"
        )
    shapes = [
        f"{key} has the shape {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    wrong = [*([f"lacks {_some(missing)}"] if missing else []), *([f"has {_some(unknown)}"] if unknown else [])]
    if wrong or shapes:
        what = f"it {' and '.join(wrong)}" if wrong else _some(shapes)
        raise UserError(f"its weights do not fit the features, {what}")
    check_finite(weights)
    module.load_state_dict(weights)


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Check the weights of a checkpoint.

    Raises:
        UserError: one of them is not finite.
    """
    spoilt = next((key for key, value in weights.items() if not torch.isfinite(value).all()), None)
    if spoilt is not None:
        raise UserError(f"its weights are not finite ({spoilt}), the training that wrote it has diverged")


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _check_trusted(hyperparameters: Any) -> None:
    trusted = [*TRUSTED, *filter(None, os.environ.get("MMREG_TRUST", "").split(","))]
    for target in _targets(hyperparameters):
        if not any(target.startswith(f"{package}.") for package in trusted):
            package = target.partition(".")[0]
            raise UserError(f"names {target}; if you trust the package {package}, set MMREG_TRUST={package}")


def _targets(node: Any) -> Iterator[str]:
    """``_target_`` of every object that a configuration would build."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)
