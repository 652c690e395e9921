"""The keys of a training's configuration; those of a group with a ``_target_`` are the arguments of the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig

from mmreg_lightning.config import read_config
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.families import FAMILY_KEYS
from mmreg_lightning.training.checks import check_values


@dataclass
class TrainingConfig:
    """The group ``training``, see ``DescentModule``."""

    warmup: float = MISSING
    organ_weight: float = MISSING
    descent_weight: float = MISSING
    contrast: Any = None
    contrast_share: float = 0.0
    contrast_weight: float = 0.0


@dataclass
class DescentConfig:
    """The group ``descent``, see ``DescentModule``; what is Any has a ``_target_``."""

    step: Any = MISSING
    targets: Any = MISSING
    start_states: Any = MISSING
    unrolled_steps: int = MISSING
    levels: list[int] = MISSING


@dataclass
class SweepConfig:
    """How a multirun goes on; the files of the group ``sweep`` set keys of the whole configuration."""

    fail_fast: bool = False


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
    resume: str | None = None
    init_from: str | None = None
    objective: str = MISSING
    output_dir: str = MISSING
    sweep: SweepConfig = field(default_factory=SweepConfig)


def read_training(config: DictConfig) -> dict[str, Any]:
    """A training's configuration as plain types; every key of it is known.

    Raises:
        UserError: see ``read_config`` and ``check_values``; or the features are no network.
    """
    own = [key for key in FAMILY_KEYS if key in config.features]
    if own and "learned" in config.features:
        raise UserError(
            f"features._target_={config.features._target_}: these features are trained already; a training of a "
            "network begins with their weights by init_from=pretrained"
        )
    if own:
        raise UserError(
            f"features._target_={config.features._target_}: hand-crafted features cannot be trained, only networks "
            "(features=unet, features=cnn)"
        )
    settings = read_config(config, TrainConfig)
    check_values(settings)
    return settings
