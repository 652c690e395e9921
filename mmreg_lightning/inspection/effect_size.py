"""Which organs each feature channel answers to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.functional.labels import one_hot
from mmreg_lightning.functional.resize import pool


def majority_labels(labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
    """The organ that fills at least half of each feature voxel, 0 where none does.

    Args:
        labels: (1, I, J, K) whole numbers on the working grid.
        ids: the organs; other values count as background.
        stride: working voxels to one of the features, along each axis.

    Returns:
        (I / stride, J / stride, K / stride) int64, sides rounded up.
    """
    filled, which = pool(one_hot(labels[None], ids), stride)[0].max(dim=0)
    return torch.where(filled >= 0.5, torch.tensor(list(ids))[which], 0)


def effect_sizes(features: Tensor, labels: Tensor, ids: Sequence[int]) -> NDArray[np.float64]:
    """Cohen's d of every channel within every organ against all other voxels of the image.

    The difference of the two means over ``sqrt((var_in + var_out) / 2)``: 0.8 counts as large.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: the L organs.

    Returns:
        (C, L) without unit; NaN for an organ of fewer than two voxels, 0 for a channel that is constant.

    Source:
        J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2.
    """
    flat = features.flatten(1).double()
    table = np.full((len(flat), len(ids)), np.nan)
    for column, organ in enumerate(ids):
        inside = (labels == organ).flatten()
        if min(int(inside.sum()), int((~inside).sum())) < 2:
            continue
        a, b = flat[:, inside], flat[:, ~inside]
        spread = ((a.var(dim=1) + b.var(dim=1)) / 2).sqrt()
        difference = a.mean(dim=1) - b.mean(dim=1)
        table[:, column] = torch.where(spread > 0, difference / spread.clamp_min(1e-12), 0.0).numpy()
    return table


def clustered_order(table: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Rows and columns of a table in an order in which alike ones lie side by side.

    Average linkage of Euclidean distances, leaves ordered so that neighbours are as near as the tree allows; NaN counts
    as 0.

    Args:
        table: (rows, columns).

    Returns:
        Indices of the rows and of the columns.
    """
    filled = np.nan_to_num(table)
    return _leaves(filled), _leaves(filled.T)


def _leaves(vectors: NDArray[np.float64]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(vectors) < 3:
        return list(range(len(vectors)))
    return [int(i) for i in leaves_list(linkage(vectors, "average", optimal_ordering=True))]
