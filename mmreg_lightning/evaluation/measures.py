"""All measures of one registered pair, and their summary over cases: what evaluate and benchmark write."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.evaluation.dice import without_ignored
from mmreg_lightning.evaluation.learn2reg import learn2reg_measures
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.evaluation.surface import surface_distances
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.l2r_fields import to_l2r

MEASURES = {
    "dice_before": "Dice before, mean over organs",
    "dice": "Dice, mean over organs",
    "hd95_mm": "95th percentile of the surface distance, mm, mean over organs",
    "hd95_voxels": "the same in voxels of the fixed image",
    "assd_mm": "average symmetric surface distance, mm, mean over organs",
    "tre_mm_before": "target registration error before, mm",
    "tre_mm": "target registration error, mm",
    "folds_percent": "voxels with a Jacobian determinant of 0 or less, %",
    "sdlogj": "standard deviation of the logarithm of the Jacobian determinant",
    "dice_l2r": "Dice as Learn2Reg computes it",
    "hd95_l2r": "HD95 as Learn2Reg computes it, voxels",
    "sdlogj_l2r": "SDlogJ as Learn2Reg computes it, of J + 3",
    "folds_l2r": "share of folded voxels as Learn2Reg computes it, of J + 3",
}


def evaluate(pair: Pair[Image], displacement: Tensor, label_names: Mapping[int, str]) -> dict[str, float | None]:
    """``MEASURES`` of a registration, and ``dice_ORGAN`` of each organ that both images show.

    Args:
        pair: with labels, landmarks or neither; what cannot be measured is None.
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving. Where any of it is not
            finite, everything but what was there before is NaN.
        label_names: organ name of each label id.
    """
    scores = score(pair, displacement, label_names)
    row: dict[str, float | None] = {**dict.fromkeys(MEASURES), **scores.row()}
    fixed, moving = pair.fixed.labels, pair.moving.labels
    if fixed is not None and moving is not None and scores.dice_after is not None:
        if torch.isfinite(displacement).all():
            row |= _surfaces(fixed, moving, displacement)
            row |= _learn2reg(fixed, moving, displacement)
        else:
            row |= {name: math.nan for name in MEASURES if name.startswith(("hd95", "assd")) or name.endswith("_l2r")}
        organs = scores.dice_after["per_label"].items()
        row |= {f"dice_{name.replace(' ', '_')}": value for name, value in organs if not math.isnan(value)}
    return row


def _surfaces(fixed: Volume, moving: Volume, displacement: Tensor) -> dict[str, float]:
    maps = without_ignored(fixed.data, warp_volume(moving, displacement, fixed.grid, "nearest").data)
    shared = sorted(set(fixed.label_ids) & set(moving.label_ids))
    spacing = fixed.grid.spacing.tolist()
    millimetres = surface_distances(*maps, shared, spacing).values()
    voxels = surface_distances(*maps, shared, (1, 1, 1)).values()
    return {
        "hd95_mm": statistics.mean(d.hd95 for d in millimetres),
        "hd95_voxels": statistics.mean(d.hd95 for d in voxels),
        "assd_mm": statistics.mean(d.assd for d in millimetres),
    }


def _learn2reg(fixed: Volume, moving: Volume, displacement: Tensor) -> dict[str, float]:
    field = to_l2r(displacement, fixed.native, moving.native)
    # Learn2Reg ignores no voxels.
    a, b = (volume.native.from_canonical(volume.data[0].clamp_min(0).cpu().numpy()) for volume in (fixed, moving))
    return learn2reg_measures(a, b, field)._asdict()


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and deviations over cases, of every numeric column, and ``dice30``: Dice that 70 % of the cases exceed.

    Args:
        rows: one a case; None, NaN and infinity (``hd95_l2r`` of an organ that was lost) do not count, and ``cases``
            of each column says how many did.

    Returns:
        column -> ``{"mean", "sd", "cases"}``, and ``dice30``, ``dice30_l2r``.
    """
    columns = dict.fromkeys(key for row in rows for key, value in row.items() if is_number(value))
    summary: dict[str, Any] = {}
    for column in columns:
        values = [float(row[column]) for row in rows if is_number(row.get(column)) and math.isfinite(row[column])]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            summary[column] = {"mean": statistics.fmean(values), "sd": deviation, "cases": len(values)}
            if column in ("dice", "dice_l2r"):
                summary[column.replace("dice", "dice30")] = float(np.percentile(values, 30))
    return summary


def is_number(value: Any) -> bool:
    """Whether a cell of a row counts in means."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
