"""The keys of a benchmark's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from mmreg_lightning.config import check_targets, read_config, unknown_key
from mmreg_lightning.data.perturbed import PerturbationConfig
from mmreg_lightning.registration.settings import solver_config

_FEATURES = {
    "mind_ssc": {"_target_": "mmreg_lightning.features.mind.MindFeatures"},
    "intensity": {"_target_": "mmreg_lightning.features.intensity.IntensityFeatures"},
}
"""What the settings ``features.KEY`` of a family are arguments of; a checkpoint's are known when it is read."""

Space = dict[str, list[Any]]
"""Values of each setting to try."""


@dataclass
class DataConfig:
    root: str = MISSING


@dataclass
class FamilyConfig:
    """A feature family: ``spacing`` in mm, one number or three; the settings are ``features.KEY`` and ``spacing``."""

    spacing: Any = None
    space: Space | None = None


@dataclass
class SolverConfig:
    """A solver: ``overrides`` as of mmreg-register; the settings are ``solver.KEY``."""

    overrides: list[str] = field(default_factory=list)
    space: Space = field(default_factory=dict)


@dataclass
class PeerConfig:
    """Another package; the settings are its own."""

    space: Space = field(default_factory=dict)


@dataclass
class TuningConfig:
    split: str = MISSING
    pairs: int | None = MISSING
    trials: int = MISSING


@dataclass
class ReportConfig:
    split: str = MISSING
    pairs: int | None = MISSING


@dataclass
class RobustnessConfig:
    """The group ``robustness``."""

    families: list[str] = MISSING
    solver: str = MISSING
    pairs: int = MISSING
    same_subject_pairs: int | None = MISSING
    settings: dict[str, dict[str, Any]] = MISSING
    checkpoints: dict[Any, str] = MISSING
    percent: float = MISSING
    draws: int = MISSING
    perturbations: dict[str, PerturbationConfig] = MISSING


@dataclass
class BenchmarkConfig:
    """conf/benchmark.yaml."""

    data: DataConfig = MISSING
    checkpoint: str | None = MISSING
    features: dict[str, FamilyConfig] = MISSING
    solvers: dict[str, SolverConfig] = MISSING
    peers: dict[str, PeerConfig] = MISSING
    tuning: TuningConfig = MISSING
    report: ReportConfig = MISSING
    seed: int = MISSING
    output_dir: str = MISSING
    robustness: RobustnessConfig | None = None


def read_benchmark(config: DictConfig) -> dict[str, Any]:
    """A benchmark's configuration as plain types; every key of it is known, and those of the settings that it tries.

    Raises:
        UserError: see ``read_config``; or a setting to try, or one of ``robustness.settings``, is unknown.
    """
    settings = read_config(config, BenchmarkConfig)
    solvers = {n: solver_config(n, None, own.get("overrides", ())) for n, own in settings["solvers"].items()}
    for name, own in settings["solvers"].items():
        _check_settings(f"solvers.{name}.space", own.get("space") or (), {"solver": solvers[name]})
    for name, own in settings["features"].items():
        _check_settings(f"features.{name}.space", own.get("space") or (), _of_features(name))
    robustness = settings.get("robustness") or {"settings": {}}
    for name, own in robustness["settings"].items():
        known = {**_of_features(name), "solver": solvers.get(robustness["solver"])}
        _check_settings(f"robustness.settings.{name}", own, known)
    return settings


def _of_features(family: str) -> dict[str, Mapping[str, Any] | None]:
    return {"spacing": None, "features": _FEATURES.get(family)}


def _check_settings(where: str, keys: Iterable[str], known: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Check dotted keys, as ``solver.step.alpha``.

    Args:
        where: dotted key of what holds them.
        keys: to be checked.
        known: what each first part stands for; with None all below it may be.
    """
    for key in keys:
        part = key.partition(".")[0]
        if part not in known:
            raise unknown_key(f"{where}.{part}", [*known])
        config = OmegaConf.create({part: known[part]})
        if known[part] is not None:
            OmegaConf.update(config, key, None)
            check_targets(config, where)
