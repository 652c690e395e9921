"""From how far away the features' Taylor step still points the right way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.labels import one_hot
from mmreg_lightning.functional.resize import carried_displacement, pool, pyramid, resize_displacement
from mmreg_lightning.functional.smooth import TRUNCATE, gaussian_smooth

DIRECTIONS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0))
"""Unit vectors of the rigid shifts: both ways along each axis."""


def shift_field(shape: Sequence[int], vector: Sequence[float]) -> Tensor:
    """A displacement that is the same everywhere.

    Args:
        shape: (I, J, K).
        vector: (3,) voxels.

    Returns:
        (1, 3, I, J, K) in voxels.
    """
    return torch.tensor(list(vector)).view(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


def smooth_field(shape: Sequence[int], length: float, sigma: float, generator: torch.Generator) -> Tensor:
    """A random smooth displacement.

    Args:
        shape: (I, J, K).
        length: mean of |u|, voxels.
        sigma: of the Gaussian that smooths white noise, voxels: several times ``length`` so that nothing folds.
        generator: of the noise.

    Returns:
        (1, 3, I, J, K) in voxels.
    """
    # The smoothing repeats the border, which would be rough: it is cut off.
    margin = math.ceil(TRUNCATE * sigma)
    noise = torch.randn(1, 3, *(n + 2 * margin for n in shape), generator=generator)
    field = gaussian_smooth(noise, sigma)
    for axis, n in enumerate(shape):
        field = field.narrow(2 + axis, margin, n)
    return field * (length / field.norm(dim=1).mean())


def surface_bands(labels: Tensor, ids: Sequence[int], stride: int) -> dict[int, Tensor]:
    """Where each organ's surface is on the feature grid: feature voxels with organ and other tissue next to them.

    Args:
        labels: (1, 1, I, J, K) on the working grid.
        ids: the organs.
        stride: of the feature grid.

    Returns:
        For each organ that is shown a mask (I / stride, J / stride, K / stride).
    """
    inside = (pool(one_hot(labels, ids), stride) >= 0.5).float()
    highest = F.max_pool3d(inside, 3, 1, 1)
    lowest = -F.max_pool3d(-inside, 3, 1, 1)
    bands = (highest > lowest)[0]
    return {organ: band for organ, band in zip(ids, bands, strict=True) if bool(band.any())}


def direction_cosines(update: Tensor, truth: Tensor, regions: Mapping[int, Tensor]) -> dict[int, float]:
    """Mean cosine between a step and the true displacement in each region; a vanishing step counts as 0.

    Args:
        update, truth: (1, 3, I, J, K) in voxels of one grid.
        regions: masks (I, J, K).
    """
    # Exactly 1 for parallel vectors of any length, however short.
    cosine = F.cosine_similarity(update.double(), truth.double(), dim=1, eps=1e-12)[0]
    return {name: float(cosine[mask].mean()) for name, mask in regions.items()}


def level_steps(step: DescentStep, fixed: Tensor, moving: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
    """The first step from no displacement at each level of a pyramid, on the features' own grid.

    Args:
        step: the regularised step.
        fixed, moving: (1, C, I, J, K) features.
        levels: pooling factors.

    Returns:
        By level, (1, 3, I, J, K) in voxels of the feature grid.
    """
    steps = {}
    shape = fixed.shape[2:]
    for level, (f, m) in zip(levels, pyramid((fixed, moving), levels), strict=True):
        update = step.update(f, m, carried_displacement(None, f))
        whole = [n * level for n in update.shape[2:]]
        full = resize_displacement(update, whole)
        # Levels pad the end of an axis to a multiple of their factors.
        steps[level] = full[:, :, : shape[0], : shape[1], : shape[2]]
    return steps
