"""Files of trained weights: NAME.safetensors in half precision, with NAME.json beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.errors import UserError, check_spacing
from mmreg_lightning.features.checkpoint import TrainedModel, build_features, load_weights
from mmreg_lightning.files import atomic_path, sha256, write_json

SUFFIX = ".safetensors"
LARGEST = 5_000_000
"""Bytes of a file of weights: they are part of the package, which everybody downloads."""
NAME = re.compile(r"[a-z][a-z0-9_]*-[0-9]+")
"""What a file of weights is called without its ending: a word and a number that rises, as ``generalist-1``."""
_FORMAT = 1
_MODEL = ("features", "modalities", "normalisation", "spacing", "descent", "solver")
"""Hyper-parameters of a checkpoint that are needed to register with its features."""


def description_of(path: str | Path) -> Path:
    """The JSON file that belongs to a file of weights."""
    return Path(path).with_suffix(".json")


def write_weights(
    path: str | Path,
    model: TrainedModel,
    about: Mapping[str, Any],
    *,
    spacing: float | None = None,
    solver: Mapping[str, Any] | None = None,
) -> Path:
    """Write the features of a checkpoint as ``path`` and ``description_of(path)``, in half precision.

    Args:
        path: NAME.safetensors, see ``NAME``; an existing file is replaced.
        model: of a checkpoint.
        about: more of the description: ``trained_on`` lists the data, each with ``name`` and ``licence``; other
            entries, as ``measures``, are as you like, plain types.
        spacing: of the working grid, mm; None is chosen for every fixed image.
        solver: configuration that registers where nothing else is asked for, with the step that suits these features;
            None is that of the checkpoint.

    Returns:
        The path of the description.

    Raises:
        UserError: the name or the spacing cannot be used, the stem of the network is not shared by all modalities,
            ``about`` names no data or no licence, a weight is beyond half precision, or the file would be larger than
            ``LARGEST``.
    """
    from safetensors.torch import save

    target = Path(path)
    if target.suffix != SUFFIX or not NAME.fullmatch(target.stem):
        raise UserError(f"out={target}: must be NAME-NUMBER{SUFFIX}, as generalist-1{SUFFIX}")
    if model.hparams["features"].get("stem") != "shared":
        raise UserError(
            f"checkpoint={model.path}: features.stem={model.hparams['features'].get('stem')}, but weights for images "
            "of any modality need features.stem=shared"
        )
    if spacing is not None:
        check_spacing("spacing", spacing)
    _check_data(about)
    weights = {name: value.half().contiguous() for name, value in model.features.state_dict().items()}
    lost = next((name for name, value in weights.items() if not torch.isfinite(value).all()), None)
    if lost is not None:
        raise UserError(f"checkpoint={model.path}: its weight {lost} is beyond the range of half precision")
    content = save(weights)
    if len(content) > LARGEST:
        raise UserError(
            f"checkpoint={model.path}: {len(content) / 1e6:.1f} MB in half precision, a file of weights has at most "
            f"{LARGEST / 1e6:g} MB"
        )
    hparams = {**model.hparams, "spacing": spacing}
    if solver is not None:
        step = solver.get("step", hparams["descent"]["step"])
        hparams |= {"solver": solver, "descent": {**hparams["descent"], "step": step}}
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    described = {
        "format": _FORMAT,
        "name": target.stem,
        "weights_sha256": sha256(target),
        "parameters": sum(value.numel() for value in weights.values()),
        "precision": "float16",
        "model": {key: hparams[key] for key in _MODEL},
        **about,
    }
    write_json(description_of(target), described)
    return description_of(target)


def read_weights(path: str | Path, parameter: str = "weights") -> TrainedModel:
    """Read a file of weights and its description.

    Neither PyTorch Lightning nor a network is needed. Only tensors and plain types are read, and only classes of
    trusted packages are built, see ``build_features``.

    Args:
        path: NAME.safetensors; NAME.json lies beside it.
        parameter: that named the file, for messages.

    Raises:
        UserError: a file is missing or damaged, they do not belong together, are of a newer version of this package,
            or the weights do not fit the features or are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    file, described = Path(path), description_of(path)
    where = f"{parameter}={file}"
    if not file.is_file():
        raise UserError(f"{where}: there is no such file")
    if not described.is_file():
        raise UserError(f"{where}: {described.name}, which describes it, does not lie beside it")
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        version, digest, hparams = content["format"], content["weights_sha256"], content["model"]
        missing = [key for key in _MODEL if key not in hparams]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: {described.name} is damaged, or describes no weights of this package") from error
    if version != _FORMAT:
        raise UserError(f"{where}: {described.name} has format {version}, this version reads {_FORMAT}")
    if missing:
        raise UserError(f"{where}: {described.name} lacks model.{missing[0]}")
    if sha256(file) != digest:
        raise UserError(f"{where}: is damaged or does not belong to {described.name}, its checksum is another one")
    try:
        weights = {name: value.float() for name, value in load(file.read_bytes()).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{where}: damaged, or no file of weights") from error
    try:
        features = build_features(hparams)
        load_weights(features, weights)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: {described.name} describes no features of this package") from error
    return TrainedModel(features.eval(), {**hparams, "label_names": {}}, file, general=True)


def _check_data(about: Mapping[str, Any]) -> None:
    data = about.get("trained_on")
    if not isinstance(data, list) or not data:
        raise UserError("about: trained_on must list the data that the weights were trained on, at least one")
    for entry in data:
        lacks = [key for key in ("name", "licence") if not isinstance(entry, dict) or not entry.get(key)]
        if lacks:
            raise UserError(f"about: trained_on must give {' and '.join(lacks)} of every entry, not {entry}")
    known = {"format", "name", "weights_sha256", "parameters", "precision", "model"} & set(about)
    if known:
        raise UserError(f"about: {sorted(known)[0]} is written by the exporter itself")
