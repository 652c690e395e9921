"""Scores of one registration, as metrics.json holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.evaluation.dice import dice_per_label, mean_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.evaluation.tre import landmark_errors
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume


@dataclass(frozen=True)
class Scores:
    """Scores of a registration; None where there is nothing to measure with.

    "Before" is as the headers place the images, without the initial affine.

    Attributes:
        dice_before, dice_after: ``{"mean": x, "per_label": {name: x}}`` over the labels that both label maps hold;
            a label of one map only is NaN and does not count in the mean.
        tre_mm_before, tre_mm_after: mean target registration error.
        folds_percent, sdlogj: of the displacement on the fixed image's grid, see ``jacobian_statistics``.
    """

    dice_before: Mapping[str, Any] | None
    dice_after: Mapping[str, Any] | None
    tre_mm_before: float | None
    tre_mm_after: float | None
    folds_percent: float
    sdlogj: float

    def row(self) -> dict[str, float | None]:
        """The means, by the column names of every table of cases."""
        return {
            "dice_before": None if self.dice_before is None else self.dice_before["mean"],
            "dice": None if self.dice_after is None else self.dice_after["mean"],
            "tre_mm_before": self.tre_mm_before,
            "tre_mm": self.tre_mm_after,
            "folds_percent": self.folds_percent,
            "sdlogj": self.sdlogj,
        }


def score(pair: Pair[Image], displacement: Tensor, label_names: Mapping[int, str]) -> Scores:
    """Measure a registration.

    Args:
        pair: images, with the labels and landmarks to score with.
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving. Where any of it is not
            finite, everything "after" is NaN.
        label_names: names of the label ids that have one; another id 7 is called "label 7".
    """
    fixed, moving = pair
    jacobian = jacobian_statistics(displacement)
    dice_before = dice_after = tre_before = tre_after = None
    if fixed.labels is not None and moving.labels is not None:
        dice_before, dice_after = _dice(fixed.labels, moving.labels, displacement, label_names)
    if fixed.landmarks is not None and moving.landmarks is not None:
        grids = fixed.volume.grid, moving.volume.grid
        tre_before, tre_after = (
            float(landmark_errors(u, *grids, fixed.landmarks, moving.landmarks).mean())
            for u in (torch.zeros_like(displacement), displacement)
        )
        if not torch.isfinite(displacement).all():
            tre_after = math.nan  # also where no landmark lies near
    return Scores(dice_before, dice_after, tre_before, tre_after, jacobian.folds_percent, jacobian.sdlogj)


def _dice(
    fixed: Volume, moving: Volume, displacement: Tensor, label_names: Mapping[int, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    own = [set(labels.label_ids) for labels in (fixed, moving)]
    shared = own[0] & own[1]

    def measure(moved: Volume) -> dict[str, Any]:
        dice = dice_per_label(fixed.data, moved.data, shared)
        per_label = {label_names.get(i, f"label {i}"): dice.get(i, float("nan")) for i in sorted(own[0] | own[1])}
        return {"mean": mean_dice(dice), "per_label": per_label}

    before = resample_volume(moving, fixed.grid, "nearest")
    if not torch.isfinite(displacement).all():
        unknown = {"mean": math.nan, "per_label": dict.fromkeys(measure(before)["per_label"], math.nan)}
        return measure(before), unknown
    return measure(before), measure(warp_volume(moving, displacement, fixed.grid, "nearest"))
