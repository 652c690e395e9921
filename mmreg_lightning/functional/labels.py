"""Label maps as smooth maps with one channel for each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.functional.smooth import gaussian_smooth

IGNORED = -1
"""What a label map holds where nothing is known: such voxels count in no loss and in no measure of overlap."""


@torch.no_grad()
def one_hot(labels: Tensor, ids: Sequence[int], sigma: float = 0.0) -> Tensor:
    """Indicator of each label, smoothed by a Gaussian, without gradient.

    Args:
        labels: (B, 1, I, J, K) or (B, I, J, K), whole numbers.
        ids: the L labels, in the order of the channels; other values of the map are background.
        sigma: standard deviation of the Gaussian in voxels; 0 does not smooth.

    Returns:
        (B, L, I, J, K) float32 in [0, 1]; the channel of an absent label is 0.

    Raises:
        UserError: ``ids`` is empty.
        ValueError: ``labels`` has another shape.
    """
    stacked = _with_channel(labels, ids)
    wanted = torch.tensor(list(ids), device=labels.device).view(1, -1, 1, 1, 1)
    return gaussian_smooth((stacked == wanted).float(), sigma)


def organ_indicators(labels: Tensor, ids: Sequence[int], stride: int, sigma: float) -> Tensor:
    """``one_hot`` pooled by ``stride``, sides rounded up, then smoothed by ``sigma`` voxels of the coarser grid."""
    return gaussian_smooth(pool(one_hot(labels, ids), stride), sigma)


@torch.no_grad()
def signed_distance(labels: Tensor, ids: Sequence[int], tau: float) -> Tensor:
    """Squashed signed distance of each label, ``0.5 + 0.5 tanh(d / tau)``, without gradient.

    d is the Euclidean distance in voxels to the border of the label, positive inside and negative outside. The border
    lies half a voxel from the nearest voxel centre on the other side. SciPy computes it on the CPU.

    Args:
        labels: (B, 1, I, J, K) or (B, I, J, K), whole numbers.
        ids: the L labels, in the order of the channels.
        tau: scale of the distance in voxels, above 0.

    Returns:
        (B, L, I, J, K) float32 in [0, 1] on the device of ``labels``; the channel of an absent label is 0, that of a
        label that fills the whole grid is 1.

    Raises:
        UserError: ``ids`` is empty, or ``tau`` is not positive.
        ValueError: ``labels`` has another shape.
    """
    if tau <= 0:
        raise UserError(f"tau={tau}: must be above 0 voxels")
    maps = _with_channel(labels, ids)[:, 0].cpu().numpy()
    channels = [[_squashed_distance(map_ == label, tau) for label in ids] for map_ in maps]
    return torch.from_numpy(np.array(channels, dtype=np.float32)).to(labels.device)


def _with_channel(labels: Tensor, ids: Sequence[int]) -> Tensor:
    """Label map as (B, 1, I, J, K), after validation."""
    if len(ids) == 0:
        raise UserError("ids=[]: must name at least one label")
    if labels.ndim == 4:
        labels = labels.unsqueeze(1)
    if labels.ndim != 5 or labels.shape[1] != 1:
        raise ValueError(f"labels must have shape (B, 1, I, J, K) or (B, I, J, K), not {tuple(labels.shape)}")
    return labels


def _squashed_distance(inside: np.ndarray, tau: float) -> np.ndarray:
    """One channel of ``signed_distance`` from a boolean mask (I, J, K)."""
    # SciPy's distance to an empty set is undefined.
    if not inside.any():
        return np.zeros(inside.shape, dtype=np.float32)
    if inside.all():
        return np.ones(inside.shape, dtype=np.float32)
    distance = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
    return (0.5 + 0.5 * np.tanh(distance / tau)).astype(np.float32)
