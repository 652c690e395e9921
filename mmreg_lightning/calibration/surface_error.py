"""The actual local error of a registration: how far organ surfaces lie apart, at places on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mmreg_lightning.evaluation.dice import without_ignored
from mmreg_lightning.geometry.grid import Grid


def surface_errors(fixed: Tensor, warped: Tensor, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distances of organ surfaces, from every surface voxel of both label maps to the same organ's other surface.

    Args:
        fixed, warped: (1, I, J, K), label maps of the fixed image and, warped, of the moving one.
        grid: of both.

    Returns:
        Voxels (N, 3), and millimetres (N,); organs that are not in both maps are left out.
    """
    a, b = (x[0].cpu().numpy() for x in without_ignored(fixed, warped))
    places, distances = [], []
    for label in sorted((set(np.unique(a).tolist()) & set(np.unique(b).tolist())) - {0}):
        shells = [_surface(a == label), _surface(b == label)]
        for own, other in (shells, shells[::-1]):
            away = ndimage.distance_transform_edt(~other, sampling=grid.spacing)
            voxels = np.argwhere(own)
            places.append(voxels)
            distances.append(away[tuple(voxels.T)])
    if not places:
        return np.zeros((0, 3), np.int64), np.zeros(0)
    return np.concatenate(places), np.concatenate(distances)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # What touches the border of the image is cut off there, not an organ's surface.
    return mask & ~ndimage.binary_erosion(mask, border_value=1)
