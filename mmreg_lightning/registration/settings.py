"""Options of a registration, and the settings that they resolve to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from mmreg_lightning.confidence.model import ConfidenceModel, check_calibration, read_confidence
from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.io.transform_names import parse_transform_name
from mmreg_lightning.io.transforms import AffineFile
from mmreg_lightning.registration.families import UNNAMED, FeatureFamily, choose_family, shipped
from mmreg_lightning.registration.initial_affine import read_initial_affine
from mmreg_lightning.runtime import resolve_device
from mmreg_lightning.solvers.protocol import Solver


@dataclass(frozen=True)
class Options:
    """What a user chooses; ``mmreg-register`` has an option, and ``mmreg_lightning.register`` a parameter, for each.

    Attributes:
        checkpoint: of mmreg-train; its features, intensity recipes, spacing and solver are used.
        features: see ``choose_family``.
        fixed_modality, moving_modality: choose the intensity recipes; None is the checkpoint's. Letter case matters
            only with a checkpoint; shipped weights take any name.
        affine: alignment before the solver: ``auto``, ``none``, ``moments``, ``rigid``, ``similarity``, ``affine``, a
            transform file (see ``read_transform``), or a 4x4 matrix (world RAS mm of the fixed to that of the moving
            image).
        body_mask: an image without a mask gets that of the body in it, see ``geometry.body.body_mask``.
        spacing: of the working grid, mm; None is the checkpoint's, without one ``default_spacing``.
        solver: name of a file of conf/solver, which takes the descent step that the checkpoint was trained with; None
            is the checkpoint's own solver, without one demons with the step of the feature family.
        overrides: ``KEY=VALUE`` of ``solver.*``, or of ``descent.step.*``, which is the solver's step.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        confidence: file of mmreg-calibrate; the registration is then judged, which needs a second run of the solver.
        fill: of the warped image, where it lies outside of the moving one's field of view; None is the smallest value
            of the moving image.
    """

    checkpoint: str | Path | None = None
    features: str | None = None
    fixed_modality: str | None = None
    moving_modality: str | None = None
    affine: str | NDArray[np.float64] = "auto"
    body_mask: bool = True
    spacing: float | None = None
    solver: str | None = None
    overrides: Sequence[str] = ()
    device: str = "auto"
    confidence: str | Path | None = None
    fill: float | None = None


@dataclass(frozen=True, eq=False)
class Settings:
    """Everything that a registration needs besides the images, checked and built.

    Attributes:
        family: features with their intensity recipes.
        solver: ready to use.
        solver_config: the configuration that it was built from, plain types.
        fixed_modality, moving_modality: names.
        spacing: of the working grid, mm; None is to be chosen by ``default_spacing``.
        label_names: organ name of each label id that is known.
        affine: what precedes the solver, in words; ``initial`` is its 4x4 matrix or its file where it is given.
        device: where features are computed and compared.
        confidence: to judge the registration by, and its file.
        body_mask: an image without a mask gets that of the body in it.
        fill: see ``Options``.
    """

    family: FeatureFamily
    solver: Solver
    solver_config: Mapping[str, Any]
    fixed_modality: str
    moving_modality: str
    spacing: float | Sequence[float] | None
    label_names: Mapping[int, str]
    affine: str = "none"
    initial: NDArray[np.float64] | AffineFile | None = None
    device: torch.device = torch.device("cpu")
    confidence: ConfidenceModel | None = None
    confidence_file: Path | None = None
    body_mask: bool = False
    fill: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed when files were read, one sentence each."""
        return self.initial.notes if isinstance(self.initial, AffineFile) else ()

    @property
    def features(self) -> FeatureExtractor:
        """The extractor."""
        return self.family.features

    def files(self) -> dict[str, Path]:
        """Files that the settings were read from, by the names of the options."""
        affine = parse_transform_name(self.affine).path if isinstance(self.initial, AffineFile) else None
        trained = "weights" if self.family.model is not None and self.family.model.general else "checkpoint"
        found = {"confidence": self.confidence_file, trained: self.family.checkpoint, "affine": affine}
        return {name: path for name, path in found.items() if path is not None}

    def describe(self, default: float | None = None) -> dict[str, Any]:
        """The settings as run.yaml holds them, plain types.

        Args:
            default: spacing of the working grid, mm, where ``self.spacing`` leaves it to the image.
        """
        spacing = self.spacing or default
        modalities = dict.fromkeys((self.fixed_modality, self.moving_modality))
        return {
            "features": dict(self.family.config),
            "fixed_modality": self.fixed_modality,
            "moving_modality": self.moving_modality,
            "normalisation": {name: dict(self.family.recipe(name)) for name in modalities},
            "spacing_mm": list(spacing) if isinstance(spacing, Sequence) else spacing,
            "affine": self.affine,
            "body_mask": self.body_mask,
            **({} if self.fill is None else {"fill": self.fill}),
            "solver": dict(self.solver_config),
        }

    def calibrated(self) -> dict[str, Any]:
        """What a registration must share with the calibration of its confidence, besides the checkpoint."""
        described = self.describe()
        keys = ["features", "spacing_mm", "solver", "body_mask"]
        if self.family.normalisation is None:  # else all modalities are treated alike
            keys += ["fixed_modality", "moving_modality"]
        return {key: described[key] for key in keys}


def resolve(options: Options) -> Settings:
    """Settings of a registration.

    Raises:
        UserError: a file or a name cannot be used, the checkpoint does not know a modality, an override names no
            setting, or the confidence was calibrated with other settings.
    """
    if options.spacing is not None and not 0 < options.spacing < float("inf"):
        raise UserError(f"spacing={options.spacing}: must be a positive number of millimetres")
    if options.fill is not None and not abs(options.fill) < float("inf"):
        raise UserError(f"fill={options.fill}: must be a finite number")
    family = choose_family(options.features, options.checkpoint)
    defaults = family.modalities or (UNNAMED, UNNAMED)
    modalities = [
        family.check_modality(f"{role}_modality", given or default)
        for role, given, default in zip(
            ("fixed", "moving"), (options.fixed_modality, options.moving_modality), defaults, strict=True
        )
    ]
    config = solver_config(options.solver, family)
    if options.solver in (None, "demons") and "step" in config:
        config = with_setting(config, {f"step.{key}": value for key, value in family.step.items()})
    for override in options.overrides:
        _apply(config, override)
    affine = options.affine
    device = resolve_device(options.device)
    if isinstance(family.features, nn.Module):
        family.features.to(device)
    settings = Settings(
        family,
        instantiate(config),
        config,
        modalities[0],
        modalities[1],
        options.spacing or family.spacing,
        family.label_names,
        affine if isinstance(affine, str) else "matrix",
        read_initial_affine(affine),
        device,
        None if options.confidence is None else read_confidence(options.confidence),
        None if options.confidence is None else Path(options.confidence),
        options.body_mask,
        options.fill,
    )
    if settings.confidence is not None:
        check_calibration(settings.confidence, str(options.confidence), family.checkpoint, settings.calibrated())
    return settings


def solver_config(
    name: str | None, family: FeatureFamily | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Configuration of a solver as plain types, every reference resolved.

    One rule for all commands: learned features run with the descent step of their checkpoint. Without a name the
    solver is the checkpoint's own; a named one is that of conf/solver with the checkpoint's step. Features without a
    checkpoint have the shipped solver (demons without a name) and step.

    Args:
        name: file of conf/solver.
        family: of the features; None has no checkpoint.
        overrides: ``KEY=VALUE``, see ``Options``.

    Raises:
        UserError: no such solver, or an override that names no setting of it.
    """
    known = sorted(path.stem for path in (CONF_DIR / "solver").glob("*.yaml"))
    if name is not None and name not in known:
        raise UserError(f"solver={name}: must be one of {', '.join(known)}")
    hparams = None if family is None or family.model is None else family.model.hparams
    if name is None and hparams is not None:
        root = OmegaConf.create({"solver": dict(hparams["solver"])})
    else:
        step = shipped("descent/default")["step"] if hparams is None else hparams["descent"]["step"]
        # Not composed by Hydra, which allows one composition at a time: this may run within another command's.
        parts = {"regulariser": shipped("regulariser/gaussian"), "solver": shipped(f"solver/{name or 'demons'}")}
        root = OmegaConf.create({"descent": {"step": step}, **parts})
    config: dict[str, Any] = OmegaConf.to_container(root.solver, resolve=True)  # type: ignore[assignment]
    for override in overrides:
        _apply(config, override)
    return config


def with_setting(config: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with other values, by dotted keys as ``{"step.alpha": 0.1}``."""
    changed = OmegaConf.create(dict(config))
    for key, value in setting.items():
        OmegaConf.update(changed, key, value)
    container: dict[str, Any] = OmegaConf.to_container(changed)  # type: ignore[assignment]
    return container


def _apply(config: dict[str, Any], override: str) -> None:
    """Set one ``KEY=VALUE`` in place."""
    key, separator, _ = override.partition("=")
    if not separator:
        raise UserError(f"overrides={override}: must be KEY=VALUE, as solver.iterations=40")
    path = f"solver.{key.removeprefix('descent.')}" if key.startswith("descent.step.") else key
    root: dict[str, Any] = {"solver": config}
    *parents, last = path.split(".")
    node: Any = root
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if len(parents) == 0 or not isinstance(node, dict) or last not in node:
        raise UserError(f"overrides={override}: there is no such setting, only {', '.join(_leaves(root))}")
    try:
        parsed = OmegaConf.from_dotlist([override])
        # The whole value is resolved, so that a reference cannot hide in it.
        value: Any = OmegaConf.to_container(parsed, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"overrides={override}: {' '.join(str(error).split())}") from error
    for part in key.split("."):
        value = value[part]
    if isinstance(node[last], dict) and not (isinstance(value, dict) and "_target_" in value):
        inside = ", ".join(_leaves(node[last], f"{path}."))
        raise UserError(
            f"overrides={override}: {key} is a group, set one of {inside}, or replace it by {{_target_: ...}}"
        )
    node[last] = value


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}"
