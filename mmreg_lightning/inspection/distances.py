"""Distance in feature space between two modalities of one organ, relative to the distance between organs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmreg_lightning.functional.labels import one_hot
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.inspection.rows import Row


def majority_labels(labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
    """The organ that fills at least half of each feature voxel, 0 where none does.

    Args:
        labels: (1, I, J, K) whole numbers on the working grid.
        ids: label ids of the organs; other values count as background.
        stride: working voxels to one of the features, along each axis.

    Returns:
        (I / stride, J / stride, K / stride) int64, sides rounded up.
    """
    filled, which = pool(one_hot(labels[None], ids), stride)[0].max(dim=0)
    return torch.where(filled >= 0.5, torch.tensor(list(ids))[which], 0)


def organ_moments(features: Tensor, labels: Tensor, ids: Sequence[int]) -> Tensor:
    """Sums over the voxels of each organ; those of several images add up.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: label ids of the L organs.

    Returns:
        (L, 2 + C) float64: number of voxels, sum of the squared lengths of the feature vectors, and their sum.
    """
    vectors = features.flatten(1).double()
    columns = torch.cat([torch.ones_like(vectors[:1]), vectors.square().sum(dim=0, keepdim=True), vectors])
    inside = labels.flatten() == torch.tensor(list(ids))[:, None]
    return inside.double() @ columns.T


def distance_rows(family: str, first: Tensor, second: Tensor, names: Mapping[int, str]) -> list[Row]:
    """Distances of each organ that both modalities show, and their means as the organ ``all``.

    ``between_modalities`` is the root mean square distance of a voxel of the organ in one modality from a voxel of the
    same organ in the other. ``between_organs`` is the same for the voxels of all other organs in the other modality;
    each organ has equal weight, and both directions count. ``ratio`` is their quotient: 0 where the modality makes no
    difference, 1 where the features cannot separate the organ from the others.

    No pairs of voxels are drawn: ``E|a - b|^2 = E|a|^2 + E|b|^2 - 2 E a . E b`` holds for independent a and b.

    Args:
        family: name of the features.
        first, second: (L, 2 + C) ``organ_moments`` of each modality.
        names: of the L label ids; the background 0 is one of the other organs and has no row.
    """
    shared = (first[:, 0] > 0) & (second[:, 0] > 0)
    a, b = (moments[shared, 1:] / moments[shared, :1] for moments in (first, second))
    squares = (a[:, None, 0] + b[None, :, 0] - 2 * a[:, 1:] @ b[:, 1:].T).clamp_min(0)
    own = squares.diagonal()
    others = squares.sum(dim=0) + squares.sum(dim=1) - 2 * own
    same, away = own.sqrt(), (others.clamp_min(0) / (2 * len(own) - 2)).sqrt()
    ratio = torch.where(away > 0, same / away, torch.nan)
    organs = [name for (i, name), shown in zip(names.items(), shared.tolist(), strict=True) if shown and i != 0]
    if not organs:
        return []
    values = torch.stack([same, away, ratio], dim=1)[torch.tensor(list(names))[shared] != 0]
    table = torch.cat([values, values.nanmean(dim=0, keepdim=True)]).tolist()
    columns = ("family", "organ", "between_modalities", "between_organs", "ratio")
    return [
        dict(zip(columns, (family, organ, *row), strict=True))
        for organ, row in zip([*organs, "all"], table, strict=True)
    ]
