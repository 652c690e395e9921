"""Functions of label maps that the supervised descent compares in place of features."""

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
    """Indicator function of each label, smoothed by a Gaussian, without gradient.

    Args:
        labels: (B, 1, I, J, K) or (B, I, J, K), whole numbers.
        ids: the L labels that get a channel, in this order; other values of the map appear in no channel.
        sigma: standard deviation of the Gaussian in voxels; 0 leaves the indicators sharp.

    Returns:
        (B, L, I, J, K) float32 in [0, 1]; the channel of an absent label is 0.

    Raises:
        UserError: ``labels`` has another shape, or ``ids`` is empty.
    """
    stacked = _with_channel(labels, ids)
    wanted = torch.tensor(list(ids), device=labels.device).view(1, -1, 1, 1, 1)
    return gaussian_smooth((stacked == wanted).float(), sigma)


def organ_indicators(labels: Tensor, ids: Sequence[int], stride: int, sigma: float) -> Tensor:
    """``one_hot`` averaged over the voxels of a coarser grid and smoothed there.

    Args:
        labels, ids: see ``one_hot``.
        stride: voxels of the label map to one of the coarser grid, along each axis.
        sigma: standard deviation of the Gaussian in voxels of the coarser grid.

    Returns:
        (B, L, I / stride, J / stride, K / stride) float32 in [0, 1], sides rounded up.
    """
    return gaussian_smooth(pool(one_hot(labels, ids), stride), sigma)


@torch.no_grad()
def signed_distance(labels: Tensor, ids: Sequence[int], tau: float) -> Tensor:
    """Squashed signed distance of each label, ``0.5 + 0.5 tanh(d / tau)``, without gradient.

    d is the distance in voxels to the border of the organ, positive inside and negative outside: the
    Euclidean distance to the nearest voxel centre on the other side, less the half voxel from there to the
    border, so that a straight border has slope 1 all the way across. Computed by SciPy on the CPU.

    Args:
        labels: (B, 1, I, J, K) or (B, I, J, K), whole numbers.
        ids: the L labels that get a channel, in this order.
        tau: distance in voxels over which the function saturates, above 0.

    Returns:
        (B, L, I, J, K) float32 in [0, 1] on the device of ``labels``; the channel of an absent label is 0,
        that of a label that fills the whole grid is 1.

    Raises:
        UserError: ``labels`` has another shape, ``ids`` is empty, or ``tau`` is not positive.
    """
    if tau <= 0:
        raise UserError(f"signed_distance needs tau > 0 voxels, not {tau}.")
    maps = _with_channel(labels, ids)[:, 0].cpu().numpy()
    channels = [[_squashed_distance(map_ == label, tau) for label in ids] for map_ in maps]
    return torch.from_numpy(np.array(channels, dtype=np.float32)).to(labels.device)


def _with_channel(labels: Tensor, ids: Sequence[int]) -> Tensor:
    """Label map as (B, 1, I, J, K), after validation."""
    if len(ids) == 0:
        raise UserError("ids is empty: at least one label is needed.")
    if labels.ndim == 4:
        labels = labels.unsqueeze(1)
    if labels.ndim != 5 or labels.shape[1] != 1:
        raise UserError(f"labels must have shape (B, 1, I, J, K) or (B, I, J, K), not {tuple(labels.shape)}.")
    return labels


def _squashed_distance(inside: np.ndarray, tau: float) -> np.ndarray:
    """One channel of :func:`signed_distance` from a boolean mask (I, J, K)."""
    # SciPy's distance to an empty set is undefined, so both degenerate masks are answered here.
    if not inside.any():
        return np.zeros(inside.shape, dtype=np.float32)
    if inside.all():
        return np.ones(inside.shape, dtype=np.float32)
    distance = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
    return (0.5 + 0.5 * np.tanh(distance / tau)).astype(np.float32)
