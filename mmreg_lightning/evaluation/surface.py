"""Distances between the surfaces of label maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from surface_distance import compute_robust_hausdorff, compute_surface_distances
from torch import Tensor

from mmreg_lightning.evaluation.dice import without_ignored


class SurfaceDistances(NamedTuple):
    """``hd95``: the larger of both 95th percentiles; ``assd``: average symmetric distance; in the spacing's unit."""

    hd95: float
    assd: float


def surface_distances(
    a: Tensor, b: Tensor, ids: Iterable[int], spacing: Sequence[float]
) -> dict[int, SurfaceDistances]:
    """Distances between the surfaces of each label, weighted by surface area.

    The surfaces are those of DeepMind's surface-distance package: between the voxels of a marching-cubes
    neighbourhood, each element with its area, so that anisotropic voxels do not bias the percentiles.

    Args:
        a, b: label maps (I, J, K), or with leading axes of one, integer.
        ids: the labels to measure; each must be in one of the maps at least.
        spacing: of the voxels along I, J, K, mm; (1, 1, 1) gives distances in voxels.

    Returns:
        label -> distances; those of a label that only one map holds are the diagonal of the grid, the worst there is.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"label maps of different shapes {tuple(a.shape)} and {tuple(b.shape)}")
    first, second = (x.reshape(x.shape[-3:]).cpu().numpy() for x in (a, b))
    worst = float(np.linalg.norm(np.array(first.shape) * np.asarray(spacing)))
    out = {}
    for label in ids:
        masks = first == label, second == label
        if masks[0].any() and masks[1].any():
            out[label] = mask_distances(*masks, spacing)
        else:
            out[label] = SurfaceDistances(worst, worst)
    return out


def mask_distances(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Sequence[float]) -> SurfaceDistances:
    """``surface_distances`` of two masks (I, J, K), neither of them empty."""
    found = compute_surface_distances(a, b, list(spacing))
    sides = (
        (found["distances_gt_to_pred"], found["surfel_areas_gt"]),
        (found["distances_pred_to_gt"], found["surfel_areas_pred"]),
    )
    total = sum(float((distance * area).sum()) for distance, area in sides)
    assd = total / sum(float(area.sum()) for _, area in sides)
    return SurfaceDistances(float(compute_robust_hausdorff(found, 95.0)), assd)


def surface_errors(
    fixed: Tensor, warped: Tensor, spacing: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The local error of a registration: distances from an organ's surface voxels to its surface in the other map.

    Args:
        fixed, warped: (1, I, J, K), label maps of the fixed image and, warped, of the moving one.
        spacing: of the voxels along I, J, K, mm.

    Returns:
        Surface voxels of both maps (N, 3), and distances in mm (N,); organs that are not in both maps are left out.
    """
    a, b = (labels[0].cpu().numpy() for labels in without_ignored(fixed, warped))
    places, distances = [np.zeros((0, 3), np.int64)], [np.zeros(0)]
    for label in np.intersect1d(a, b):
        if label:
            # What touches the border of the image is cut off there: it is not a surface.
            first, second = (m & ~ndimage.binary_erosion(m, border_value=1) for m in (a == label, b == label))
            for own, other in ((first, second), (second, first)):
                places.append(np.argwhere(own))
                distances.append(ndimage.distance_transform_edt(~other, sampling=spacing)[own])
    return np.concatenate(places), np.concatenate(distances)
