"""What a registration runs with: a checkpoint's word, else the shipped configuration, then the user's overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import TrainedModel, load_checkpoint
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.solvers.protocol import Solver

UNNAMED = "unnamed"
"""Modality without a checkpoint and without a name: pictures show it as MR, by percentiles."""
MIND_SSC = {
    "_target_": "mmreg_lightning.features.mind.MindFeatures",
    "radius": 1,
    "dilation": 2,
    "stride": 2,
}
"""Features of a registration without a checkpoint; radius and dilation are the convexAdam package's defaults."""
MIND_SSC_VARIANTS = ({"radius": 1, "dilation": 1}, {"radius": 1, "dilation": 2}, {"radius": 2, "dilation": 2})
"""What a comparison tries; small patches suit coarse voxels."""
UNCLIPPED: Recipe = {"kind": "percentile", "low": 0.0, "high": 100.0}
"""Intensity recipe of hand-crafted features, which do not mind scale and offset.

A window would cut off the noise of air and lungs: MIND-SSC then sees flat regions there, whose descriptors agree with
nothing in the other image (Dice 0.51 instead of 0.65 on the phantom, with 1 to 10 % of folds).
"""
MIND_SSC_STEP = ("solver.step.alpha=0.4", "solver.step.regulariser.sigma_field=1.0")
"""Settings of demons for them, found by ``mmreg-compare`` on the phantom; the shipped step is for learned features."""
_LONGEST_SIDE = 128  # voxels of a default working grid: seconds to a minute on a CPU


@dataclass(frozen=True)
class Settings:
    """Everything that ``register_pair`` needs besides the images.

    Attributes:
        features, solver: ready to use.
        features_config, solver_config: the configurations that they were built from, plain types.
        fixed_modality, moving_modality: names.
        normalisation: intensity recipe of each of them, for the features.
        display: the same for pictures and for centres of mass.
        spacing: of the working grid, mm; None is to be chosen by ``default_spacing``.
        label_names: organ name of each label id that is known.
        checkpoint: that the features were loaded from.
    """

    features: FeatureExtractor
    solver: Solver
    features_config: Mapping[str, Any]
    solver_config: Mapping[str, Any]
    fixed_modality: str
    moving_modality: str
    normalisation: Mapping[str, Recipe]
    display: Mapping[str, Recipe]
    spacing: float | Sequence[float] | None
    label_names: Mapping[int, str]
    checkpoint: Path | None = None


def resolve_settings(
    checkpoint: str | Path | None = None,
    *,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    spacing: float | None = None,
    solver: str | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """Settings of a registration.

    Args:
        checkpoint: of mmreg-train; without one the features are MIND-SSC, and demons steps as ``MIND_SSC_STEP``.
        fixed_modality, moving_modality: when None those of the checkpoint. Without one, letter case does not matter.
        spacing: of the working grid, mm; when None that of the checkpoint.
        solver: name of a file of conf/solver; when None the checkpoint's solver, else demons.
        overrides: ``KEY=VALUE`` of ``solver.*``, or of ``descent.step.*``, which is the solver's step.

    Raises:
        UserError: the checkpoint cannot be used or does not know a modality, or an override names no setting.
    """
    if spacing is not None and not 0 < spacing < float("inf"):
        raise UserError(f"--spacing {spacing}: must be a positive number of millimetres")
    if checkpoint is not None:
        return settings_of_model(
            load_checkpoint(checkpoint),
            checkpoint,
            fixed_modality=fixed_modality,
            moving_modality=moving_modality,
            spacing=spacing,
            solver=solver,
            overrides=overrides,
        )
    recipes = shipped_normalisation()
    fixed, moving = (_shipped_name(name or UNNAMED, recipes) for name in (fixed_modality, moving_modality))
    name = solver or "demons"
    config = solver_config(name, None, [*(MIND_SSC_STEP if name == "demons" else ()), *overrides])
    return Settings(
        features=instantiate(MIND_SSC),
        solver=instantiate(config),
        features_config=MIND_SSC,
        solver_config=config,
        fixed_modality=fixed,
        moving_modality=moving,
        normalisation=dict.fromkeys((fixed, moving), UNCLIPPED),
        display=_clipped({name: recipes.get(name, recipes["MR"]) for name in (fixed, moving)}),
        spacing=spacing,
        label_names={},
    )


def settings_of_model(
    model: TrainedModel,
    checkpoint: str | Path,
    *,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    spacing: float | None = None,
    solver: str | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """Settings of a registration with a checkpoint that is loaded already.

    Args:
        model: of ``load_checkpoint``.
        checkpoint: where it was loaded from.
        fixed_modality, moving_modality, spacing, solver, overrides: see ``resolve_settings``.

    Raises:
        UserError: the checkpoint does not know a modality, or an override names no setting.
    """
    trained_fixed, trained_moving = model.modalities
    config = solver_config(solver, model.hparams, overrides)
    return Settings(
        features=model.features,
        solver=instantiate(config),
        features_config=model.hparams["features"],
        solver_config=config,
        fixed_modality=_known(model, "--fixed-modality", fixed_modality or trained_fixed),
        moving_modality=_known(model, "--moving-modality", moving_modality or trained_moving),
        normalisation=model.hparams["normalisation"],
        display=_clipped(model.hparams["normalisation"]),
        spacing=spacing or model.hparams["spacing"],
        label_names=model.label_names,
        checkpoint=Path(checkpoint),
    )


def default_spacing(grid: Grid) -> float:
    """Working spacing when nobody names one, mm, equal along all axes.

    The geometric mean of the image's own spacing, or as much more as keeps the longest side within 128 voxels; to
    four digits.
    """
    extent = max(n * s for n, s in zip(grid.shape, grid.spacing.tolist(), strict=True))
    mean = float(grid.spacing.prod()) ** (1 / 3)
    return float(f"{max(mean, extent / _LONGEST_SIDE):.4g}")


def shipped_normalisation() -> dict[str, dict[str, float | str]]:
    """Intensity recipe of each modality that the shipped configuration knows; training starts from the same."""
    recipes: dict[str, dict[str, float | str]] = _shipped("data/learn2reg")["normalisation"]
    return recipes


def solver_config(
    name: str | None, hyperparameters: Mapping[str, Any] | None, overrides: Sequence[str]
) -> dict[str, Any]:
    """Configuration of a solver as plain types, every reference resolved.

    Args:
        name: file of conf/solver; None is the solver of ``hyperparameters``.
        hyperparameters: of a checkpoint; a named solver then takes the descent step that it was trained with.
        overrides: see ``resolve_settings``.

    Raises:
        UserError: no such solver, or an override that names no setting of it.
    """
    known = sorted(path.stem for path in (CONF_DIR / "solver").glob("*.yaml"))
    if name is not None and name not in known:
        raise UserError(f"--solver {name}: must be one of {', '.join(known)}")
    if name is None:
        assert hyperparameters is not None, "a checkpoint or a name"
        config: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(dict(hyperparameters["solver"])))  # type: ignore[assignment]
    else:
        step = None if hyperparameters is None else hyperparameters["descent"]["step"]
        # Not composed by Hydra, which allows one composition at a time: this may run within another command's.
        root = OmegaConf.create(
            {
                "descent": {"step": step or _shipped("descent/default")["step"]},
                "regulariser": _shipped("regulariser/gaussian"),
                "solver": _shipped(f"solver/{name}"),
            }
        )
        config = OmegaConf.to_container(root.solver, resolve=True)  # type: ignore[assignment]
    for override in overrides:
        _apply(config, override)
    return config


def _clipped(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    return {name: {**recipe, "clip": True} for name, recipe in recipes.items()}


def _shipped(name: str) -> Any:
    """A file of the configuration, its references left as they are."""
    return OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{name}.yaml"))


def _apply(config: dict[str, Any], override: str) -> None:
    """Set one ``KEY=VALUE`` in place."""
    key, separator, _ = override.partition("=")
    if not separator:
        raise UserError(f"--set {override}: must be KEY=VALUE, as solver.iterations=40")
    path = f"solver.{key.removeprefix('descent.')}" if key.startswith("descent.step.") else key
    root: dict[str, Any] = {"solver": config}
    *parents, last = path.split(".")
    node: Any = root
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if len(parents) == 0 or not isinstance(node, dict) or last not in node:
        raise UserError(f"--set {override}: there is no such setting, only {', '.join(_leaves(root))}")
    try:
        parsed = OmegaConf.from_dotlist([override])
        # The whole value is resolved, so that a reference cannot hide in it.
        value: Any = OmegaConf.to_container(parsed, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"--set {override}: {' '.join(str(error).split())}") from error
    for part in key.split("."):
        value = value[part]
    if isinstance(node[last], dict) and not (isinstance(value, dict) and "_target_" in value):
        inside = ", ".join(_leaves(node[last], f"{path}."))
        raise UserError(f"--set {override}: {key} is a group, set one of {inside}, or replace it by {{_target_: ...}}")
    node[last] = value


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}"


def _shipped_name(modality: str, recipes: Mapping[str, Any]) -> str:
    """The name as the recipes spell it, in whatever letter case it was given."""
    return next((name for name in recipes if name.casefold() == modality.casefold()), modality)


def _known(model: TrainedModel, option: str, modality: str) -> str:
    known = [name for name in model.hparams["normalisation"] if name in model.features.modalities]
    if modality not in known:
        raise UserError(f"{option} {modality}: the checkpoint knows only {', '.join(known)}")
    return modality
