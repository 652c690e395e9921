"""How far the features of one organ lie apart in two modalities, against how far two organs lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over the voxels of one organ in any number of images of one modality.

    Attributes:
        count: of voxels.
        total: (C,) sum of the feature vectors.
        squares: sum of their squared lengths.
    """

    count: int
    total: Tensor
    squares: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True)
class OrganDistances:
    """Of one organ.

    Attributes:
        between_modalities: root mean square distance of a voxel of the organ in one modality from one in the other.
        between_organs: the same from a voxel of any other organ in the other modality, all organs with equal weight.
    """

    between_modalities: float
    between_organs: float

    @property
    def ratio(self) -> float:
        """0 where modality makes no difference and organs do, 1 where features cannot tell the organ from others."""
        return self.between_modalities / self.between_organs if self.between_organs > 0 else math.nan


def organ_moments(features: Tensor, labels: Tensor, ids: Sequence[int]) -> dict[int, Moments]:
    """Moments of each organ that the image shows.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: the organs.
    """
    found = {}
    for organ in ids:
        values = features[:, labels == organ].double()
        if values.shape[1]:
            found[organ] = Moments(values.shape[1], values.sum(dim=1), float(values.square().sum()))
    return found


def organ_distances(first: Mapping[int, Moments], second: Mapping[int, Moments]) -> dict[int, OrganDistances]:
    """Distances in feature space of each organ that both modalities show.

    Pairs of voxels need not be drawn: ``E|a - b|^2 = E|a|^2 + E|b|^2 - 2 E a . E b`` for independent a and b. Distances
    between organs are taken across the modalities, too, in both directions.

    Args:
        first, second: moments of the organs in each modality.
    """
    shared = [organ for organ in first if organ in second]
    distances = {}
    for organ in shared:
        others = [
            _mean_square(a[organ], b[other])
            for a, b in ((first, second), (second, first))
            for other in shared
            if other != organ
        ]
        same = math.sqrt(_mean_square(first[organ], second[organ]))
        distances[organ] = OrganDistances(same, math.sqrt(sum(others) / len(others)) if others else math.nan)
    return distances


def _mean_square(a: Moments, b: Moments) -> float:
    dot = float(torch.dot(a.total, b.total)) / (a.count * b.count)
    return max(0.0, a.squares / a.count + b.squares / b.count - 2 * dot)
