"""The measures as the Learn2Reg challenge computes them, with their peculiarities; named ``*_l2r`` in results.

They allow comparison with published numbers. What to know: Dice ignores masks; HD95 is in voxels, whatever the
spacing; SDlogJ is the standard deviation of log(J + 3), two voxels off each border, and the share of folded voxels is
counted in J + 3, so it is 0 for every field but the wildest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, map_coordinates

from mmreg_lightning.evaluation.surface import mask_distances

_BORDER = 2  # voxels
_OFFSET = 3.0


class Learn2RegMeasures(NamedTuple):
    """``dice_l2r`` and ``hd95_l2r`` (voxels) are means over the labels of both images; NaN when there is none."""

    dice_l2r: float
    hd95_l2r: float
    sdlogj_l2r: float
    folds_l2r: float


def learn2reg_measures(
    fixed: NDArray[np.integer], moving: NDArray[np.integer], displacement: NDArray[np.floating]
) -> Learn2RegMeasures:
    """Measures of one case.

    Args:
        fixed, moving: label maps (X, Y, Z) and (X', Y', Z'), as the files hold them.
        displacement: (X, Y, Z, 3), voxels, in the axis order of the files: the moving map is sampled at x + u(x).

    Raises:
        ValueError: the displacement is not on the fixed map's grid.
    """
    if displacement.shape != (*fixed.shape, 3):
        raise ValueError(f"displacement of shape {displacement.shape} for label maps of shape {fixed.shape}")
    identity = np.meshgrid(*(np.arange(n) for n in fixed.shape), indexing="ij")
    places = np.stack([x + displacement[..., axis] for axis, x in enumerate(identity)])
    warped = map_coordinates(moving, places, order=0)
    dice, hd95 = [], []
    # The official script walks the labels of the fixed map, each organ that the moving one lacks is left out.
    for label in np.unique(fixed)[1:] if (fixed == 0).any() else np.unique(fixed):
        if not (moving == label).any():
            continue
        a, b = fixed == label, warped == label
        dice.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
        hd95.append(mask_distances(a, b, (1.0, 1.0, 1.0)).hd95 if b.any() else float("inf"))
    jacobian = _jacobian_determinant(displacement.astype(np.float64)) + _OFFSET
    logarithm = np.log(jacobian.clip(1e-9, 1e9))
    return Learn2RegMeasures(
        float(np.mean(dice)) if dice else float("nan"),
        float(np.mean(hd95)) if hd95 else float("nan"),
        float(logarithm.std()),
        float((jacobian <= 0).mean()),
    )


def _jacobian_determinant(displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    """(X - 4, Y - 4, Z - 4): central differences, two voxels off each border."""
    kernel = np.array([-0.5, 0.0, 0.5])
    gradient = np.empty((*displacement.shape[:3], 3, 3))
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = 3
        for component in range(3):
            gradient[..., component, axis] = correlate(
                displacement[..., component], kernel.reshape(shape), mode="constant", cval=0.0
            )
    inner = slice(_BORDER, -_BORDER)
    return np.linalg.det(gradient[inner, inner, inner] + np.eye(3))
