"""The energy that a solver descends, along rigid shifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.functional.warp import warp
from mmreg_lightning.inspection.capture import shift_field


def shift_energies(fixed: Tensor, moving: Tensor, axis: int, shifts: Sequence[float]) -> NDArray[np.float64]:
    """Mean squared residual of the features when the moving ones are shifted.

    Voxels nearer to the border than the longest shift are left out, so that all shifts compare the same fixed voxels
    and none looks outside.

    Args:
        fixed, moving: (1, C, I, J, K) features.
        axis: 0, 1 or 2.
        shifts: in voxels.

    Returns:
        (len(shifts),) in squared feature values, summed over the channels.
    """
    margin = int(np.ceil(max(abs(s) for s in shifts)))
    n = fixed.shape[2 + axis]
    margin = min(margin, (n - 1) // 2)
    energies = []
    for shift in shifts:
        vector = [shift if a == axis else 0.0 for a in range(3)]
        residual = fixed - warp(moving, shift_field(fixed.shape[2:], vector).to(fixed))
        inner = residual.narrow(2 + axis, margin, n - 2 * margin)
        energies.append(float(inner.double().square().sum(1).mean()))
    return np.array(energies)


def basin(shifts: Sequence[float], energies: Sequence[float]) -> tuple[float, float]:
    """Where the lowest energy is, and how far from there it rises all the way.

    Args:
        shifts: rising.
        energies: one for each shift.

    Returns:
        The shift of the lowest energy, and the distance from it within which the energy rises strictly on both sides,
        in the unit of ``shifts``; the end of the range counts as a limit.
    """
    values = list(energies)
    lowest = int(np.argmin(values))
    right = lowest
    while right + 1 < len(values) and values[right + 1] > values[right]:
        right += 1
    left = lowest
    while left > 0 and values[left - 1] > values[left]:
        left -= 1
    return float(shifts[lowest]), float(min(shifts[right] - shifts[lowest], shifts[lowest] - shifts[left]))
