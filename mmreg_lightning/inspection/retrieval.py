"""Where the best match of a point lies in the other image, by features alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from mmreg_lightning.geometry.sampling import sample_at

_ROUNDING = 1e-6  # of squared features, relative


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Features between voxels, trilinear, the border repeated outside.

    Args:
        features: (C, I, J, K).
        points: (N, 3) voxels of that grid.

    Returns:
        (N, C).
    """
    shape = torch.tensor(features.shape[1:], dtype=torch.float32)
    cube = ((2 * points.float() + 1) / shape - 1).flip(1).view(1, 1, -1, 3)
    return sample_at(features.float(), cube)[:, 0, 0].T


def best_matches(
    descriptors: Tensor, features: Tensor, centres: Tensor, spacing: Sequence[float], radius: float
) -> Tensor:
    """The voxel with the most similar features within a sphere about each point.

    Args:
        descriptors: (N, C) features of the points in one image.
        features: (C, I, J, K) of the other image.
        centres: (N, 3) where each point lies in the other image's voxels, before any alignment.
        spacing: (3,) of the other image, mm.
        radius: of the sphere, mm.

    Returns:
        (N, 3) voxels of the other image, int64; of equal matches the one nearest to the centre.
    """
    step = torch.tensor(list(spacing), dtype=torch.float32)
    last = torch.tensor(features.shape[1:]) - 1
    found = []
    for descriptor, centre in zip(descriptors.float(), centres.float(), strict=True):
        # The box about the sphere; of a point outside the image, about the nearest voxel within it.
        middle = torch.minimum(centre.clamp_min(0), last)
        low = (middle - radius / step).floor().long().clamp_min(0)
        high = torch.minimum((middle + radius / step).ceil().long(), last) + 1
        box = features[(slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))].float()
        squares = (box - descriptor.view(-1, 1, 1, 1)).square().sum(dim=0)
        along = [
            ((torch.arange(int(a), int(b)) - m) * s).square()
            for a, b, m, s in zip(low, high, middle, step, strict=True)
        ]
        away = along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
        # The nearest voxel is always one to choose.
        squares = squares.masked_fill(away > max(radius**2, float(away.min())), torch.inf)
        # Where features are constant all candidates are equal, up to rounding: the tie goes to the nearest.
        equal = squares <= squares.min() + _ROUNDING * float(descriptor.square().sum())
        index = int(away.masked_fill(~equal, torch.inf).argmin())
        found.append(low + torch.tensor(np.unravel_index(index, tuple(away.shape))))
    return torch.stack(found)


def organ_surface(labels: Tensor, organ: int) -> NDArray[np.bool_]:
    """The voxels of an organ that touch another label, (I, J, K); the image's border is no surface.

    Args:
        labels: (I, J, K).
        organ: its id.
    """
    inside = (labels == organ).numpy()
    return inside & ~binary_erosion(inside, border_value=1)


def surface_distance(labels: Tensor, organs: Sequence[int], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance of every voxel from the nearest surface voxel of any of the organs, (I, J, K) mm; inf without any.

    Args:
        labels: (I, J, K).
        organs: their ids.
        spacing: (3,) mm.
    """
    surface = np.logical_or.reduce([organ_surface(labels, organ) for organ in organs])
    if not surface.any():
        return np.full(surface.shape, np.inf)
    return distance_transform_edt(~surface, sampling=list(spacing))


def surface_points(labels: Tensor, organ: int, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` voxels (N, 3) of an organ's surface, drawn without repetition.

    Args:
        labels: (I, J, K).
        organ: its id.
        count: how many.
        generator: of the draw.
    """
    places = torch.from_numpy(np.argwhere(organ_surface(labels, organ)))
    return places[torch.randperm(len(places), generator=generator)[:count]]
