"""The keys of a benchmark's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from mmreg_lightning.config import check_keys, check_targets, read_config, unknown_key
from mmreg_lightning.data.perturbed import PerturbationConfig
from mmreg_lightning.registration.families import FAMILY_KEYS, FamilyConfig
from mmreg_lightning.registration.settings import solver_config

Space = dict[str, list[Any]]
"""Values of each setting to try."""


@dataclass
class DataConfig:
    root: str = MISSING


@dataclass
class SolverConfig:
    """A solver: ``overrides`` as of mmreg-register; the settings are ``solver.KEY``."""

    overrides: list[str] = field(default_factory=list)
    space: Space | None = None


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
    features: dict[str, Any] = MISSING
    solvers: dict[str, SolverConfig] = MISSING
    peers: dict[str, PeerConfig] = field(default_factory=dict)
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
    whole = OmegaConf.to_container(config)
    families, extractors = {}, {}
    for name, own in (whole.get("features") or {}).items():  # type: ignore[union-attr]
        families[name] = {key: value for key, value in own.items() if key in FAMILY_KEYS}
        extractors[name] = {key: value for key, value in own.items() if key not in FAMILY_KEYS}
    # The keys of a family are none of its extractor's arguments.
    config = OmegaConf.create({**whole, "features": extractors})  # type: ignore[dict-item]
    settings = read_config(
        config, BenchmarkConfig, [f"features.{name}.{key}" for name in families for key in FAMILY_KEYS]
    )
    solvers = {n: solver_config(n, None, own.get("overrides", ())) for n, own in settings["solvers"].items()}
    for name, own in settings["solvers"].items():
        _check_settings(f"solvers.{name}.space", own.get("space") or (), {"solver": solvers[name]})
    known = {}
    for name, extractor in settings["features"].items():
        if "_target_" not in extractor and extractor:
            raise unknown_key(f"features.{name}.{next(iter(extractor))}", ["_target_", *FAMILY_KEYS])
        check_keys(families[name], FamilyConfig, f"features.{name}")
        # A checkpoint's extractor is known when it is read.
        known[name] = {"spacing": None, "features": extractor if "_target_" in extractor else None}
        _check_settings(f"features.{name}.space", families[name].get("space") or (), known[name])
        settings["features"][name] = {**extractor, **families[name]}
    settings.setdefault("peers", {})  # '~peers' leaves all of them out
    robustness = settings.get("robustness") or {"settings": {}}
    for name, own in robustness["settings"].items():
        solver = {"solver": solvers.get(robustness["solver"])}
        _check_settings(f"robustness.settings.{name}", own, {**known.get(name, {}), **solver})
    return settings


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
