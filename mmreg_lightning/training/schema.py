"""The keys of a training's configuration; those of a group with a ``_target_`` are the arguments of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class TrainingConfig:
    """The group ``training``, see ``DescentModule``."""

    warmup: float = MISSING
    organ_weight: float = MISSING
    descent_weight: float = MISSING


@dataclass
class DescentConfig:
    """The group ``descent``, see ``DescentModule``; what is Any has a ``_target_``."""

    step: Any = MISSING
    targets: Any = MISSING
    start_states: Any = MISSING
    unrolled_steps: int = MISSING
    levels: list[int] = MISSING


@dataclass
class TrainConfig:
    """conf/train.yaml; what is Any has a ``_target_``."""

    data: Any = MISSING
    features: Any = MISSING
    descent: DescentConfig = MISSING
    regulariser: Any = MISSING
    targets: Any = MISSING
    loss: Any = MISSING
    training: TrainingConfig = MISSING
    optimizer: Any = MISSING
    solver: Any = MISSING
    trainer: Any = MISSING
    logger: dict[str, Any] = MISSING
    callbacks: dict[str, Any] = MISSING
    seed: int = MISSING
    ckpt_path: str | None = MISSING
    objective: str = MISSING
    output_dir: str = MISSING
