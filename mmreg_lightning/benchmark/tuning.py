"""The same small search for every feature family: each is compared at its own best setting."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmreg_lightning.config import instantiate
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.evaluation.dice import mean_shared_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.functional.resize import resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.solvers.protocol import Solver

Config = dict[str, Any]
MAX_FOLDS_PERCENT = 0.1
"""A setting that folds more of the voxels than this ranks behind all that do not."""
DICE_TOLERANCE = 0.005
"""Settings whose Dice differs by less are equally good; the smoothest of them is taken."""


@dataclass(frozen=True)
class TuningPair:
    """Features of one validation pair with what judges them.

    Attributes:
        fixed, moving: (1, C, i, j, k) features.
        fixed_targets, moving_targets: (1, L, i, j, k) label functions on the same grid.
        fixed_labels, moving_labels: (1, 1, I, J, K) integers on the working grid.
        weight: (1, 1, i, j, k) for the solver, see ``pair_trust``; None is 1 everywhere.
    """

    fixed: Tensor
    moving: Tensor
    fixed_targets: Tensor
    moving_targets: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True)
class Trial:
    """One setting and its means over the validation pairs."""

    setting: Mapping[str, Any]
    dice: float
    folds_percent: float
    sdlogj: float
    cosine: float


def settings_grid(space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values; keys are dotted names within the solver's configuration."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def with_setting(solver: Mapping[str, Any], setting: Mapping[str, Any]) -> Config:
    """A copy of the solver's configuration with other values, as ``{"step.alpha": 0.1}``."""
    from omegaconf import OmegaConf

    config = OmegaConf.create(dict(solver))
    for key, value in setting.items():
        OmegaConf.update(config, key, value)
    container: Config = OmegaConf.to_container(config)  # type: ignore[assignment]
    return container


@torch.no_grad()
def search(
    pairs: Sequence[TuningPair],
    solver: Mapping[str, Any],
    settings: Sequence[Mapping[str, Any]],
    label_ids: Sequence[int],
    progress: Callable[[], None] | None = None,
) -> list[Trial]:
    """Register all pairs with every setting.

    Args:
        pairs: features and labels of the validation pairs.
        solver: configuration of a demons solver.
        settings: see ``settings_grid``.
        label_ids: the organs that count.
        progress: called after each trial.

    Returns:
        The trials in the order of ``ranked``.
    """
    trials = []
    for setting in settings:
        config = with_setting(solver, setting)
        run: Solver = instantiate(config)
        step = instantiate(config["step"])
        rows = []
        for pair in pairs:
            u = resize_displacement(run(pair.fixed, pair.moving, weight=pair.weight), pair.fixed_labels.shape[2:])
            warped = warp(pair.moving_labels.float(), u, mode="nearest").long()
            agreement = descent_agreement(
                step, pair.fixed, pair.moving, pair.fixed_targets, pair.moving_targets, config["levels"]
            )
            dice = mean_shared_dice(pair.fixed_labels, pair.moving_labels, warped, label_ids)
            rows.append((dice, *jacobian_statistics(u), agreement))
        trials.append(Trial(dict(setting), *(sum(column) / len(rows) for column in zip(*rows, strict=True))))
        if progress is not None:
            progress()
    return ranked(trials)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, the one to use first, the others by Dice; those that fold too much come last.

    A handful of pairs cannot tell settings apart whose Dice differs in the third digit, but they differ much in how
    rough their fields are, and rough fields fold on the next pair. So the first is the smoothest (least ``sdlogj``)
    of those within ``DICE_TOLERANCE`` of the best.

    Args:
        trials: at least one.
    """

    def folds(trial: Trial) -> bool:
        return trial.folds_percent > MAX_FOLDS_PERCENT

    order = sorted(trials, key=lambda trial: (folds(trial), -trial.dice))
    best = order[0]
    equal = [t for t in order if folds(t) == folds(best) and t.dice >= best.dice - DICE_TOLERANCE]
    chosen = min(equal, key=lambda trial: trial.sdlogj)
    return [chosen, *(trial for trial in order if trial is not chosen)]
