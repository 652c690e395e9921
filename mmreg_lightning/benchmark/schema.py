"""The keys of a benchmark's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from mmreg_lightning.data.perturbed import PerturbationConfig

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
