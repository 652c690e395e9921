"""Overlap of label maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.functional.warp import warp


def dice_per_label(a: Tensor, b: Tensor, ids: Iterable[int]) -> dict[int, float]:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of each label, over the voxels that neither map ignores.

    Args:
        a, b: label maps of one shape (any), integer.
        ids: the labels to measure.

    Returns:
        label -> Dice in [0, 1]; NaN for a label that is in neither map, 0 for one that is in one of them
        only.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"label maps of different shapes {tuple(a.shape)} and {tuple(b.shape)}")
    labels = list(ids)
    a, b = without_ignored(a, b)
    size = max([int(a.max()), int(b.max()), *labels]) + 1
    a, b = a.flatten().long(), b.flatten().long()
    both = torch.bincount(a[a == b], minlength=size)
    total = torch.bincount(a, minlength=size) + torch.bincount(b, minlength=size)
    dice = (2 * both.double() / total.double()).tolist()  # 0 / 0 is the NaN of a label in neither
    return {label: dice[label] for label in labels}


def without_ignored(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two label maps of one shape, both of them background where one is ``IGNORED``."""
    ignored = (a == IGNORED) | (b == IGNORED)
    return (a.masked_fill(ignored, 0), b.masked_fill(ignored, 0)) if bool(ignored.any()) else (a, b)


def mean_dice(dice: Mapping[int, float]) -> float:
    """Mean over the labels whose Dice is not NaN; NaN when there is none."""
    known = [value for value in dice.values() if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def shared_dice(fixed: Tensor, moving: Tensor, warped: Tensor, ids: Iterable[int]) -> dict[int, float]:
    """Dice of fixed and warped labels for each organ that both images show.

    Args:
        fixed, moving, warped: label maps of one shape, integer; ``moving`` before the registration.
        ids: the organs that count.
    """
    shown = [i for i in ids if bool((fixed == i).any()) and bool((moving == i).any())]
    return dice_per_label(fixed, warped, shown)


def mean_shared_dice(fixed: Tensor, moving: Tensor, warped: Tensor, ids: Iterable[int]) -> float:
    """Mean of ``shared_dice``; NaN when both images show none of the organs."""
    return mean_dice(shared_dice(fixed, moving, warped, ids))


def registered_dice(fixed: Tensor, moving: Tensor, displacement: Tensor, ids: Iterable[int]) -> dict[int, float]:
    """``shared_dice`` of a registration; NaN for every organ where the displacement is not finite.

    Args:
        fixed, moving: label maps (B, 1, I, J, K), integer.
        displacement: (B, 3, I, J, K), voxels of that grid, fixed to moving.
        ids: the organs that count.
    """
    if not torch.isfinite(displacement).all():
        return dict.fromkeys(shared_dice(fixed, moving, moving, ids), math.nan)
    return shared_dice(fixed, moving, warp(moving.float(), displacement, mode="nearest").long(), ids)
