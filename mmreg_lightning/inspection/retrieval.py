"""Retrieval: where the best match of a point lies in the other image, by features alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.functional.resize import resize
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.sampling import sample_at
from mmreg_lightning.inspection.families import StudiedFamily
from mmreg_lightning.inspection.rows import Row
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.point_tables import read_point_table

SURFACE_POINTS = 25  # of each organ in each pair
WINDOW_MM = 40.0
_ROUNDING = 1e-6  # relative error of squared features


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Features (C, I, J, K) at points (N, 3) in their voxels, (N, C): trilinear, the border is repeated outside."""
    shape = torch.tensor(features.shape[1:], dtype=torch.float32)
    cube = ((2 * points.float() + 1) / shape - 1).flip(1).view(1, 1, -1, 3)
    return sample_at(features.float(), cube)[:, 0, 0].T


def best_matches(
    descriptors: Tensor, features: Tensor, centres: Tensor, spacing: Sequence[float], radius: float
) -> Tensor:
    """Find the voxel with the most similar features within a sphere around each point.

    Args:
        descriptors: (N, C) features of the points in one image.
        features: (C, I, J, K) of the other image.
        centres: (N, 3) places of the points in voxels of the other image, before any alignment.
        spacing: (3,) of the other image, mm.
        radius: of the sphere, mm.

    Returns:
        (N, 3) voxels of the other image, int64; among equal matches the one nearest to the centre.
    """
    step = torch.tensor(list(spacing), dtype=torch.float32)
    last = torch.tensor(features.shape[1:]) - 1
    found = []
    for descriptor, centre in zip(descriptors.float(), centres.float(), strict=True):
        # A box around the sphere. A point outside the image is replaced by the nearest place inside.
        middle = torch.minimum(centre.clamp_min(0), last)
        low = (middle - radius / step).floor().long().clamp_min(0)
        high = torch.minimum((middle + radius / step).ceil().long(), last) + 1
        box = features[(slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))].float()
        squares = (box - descriptor.view(-1, 1, 1, 1)).square().sum(dim=0)
        x, y, z = (
            ((torch.arange(int(a), int(b)) - m) * s).square()
            for a, b, m, s in zip(low, high, middle, step, strict=True)
        )
        away = x[:, None, None] + y[None, :, None] + z[None, None, :]
        # The nearest voxel is always a candidate.
        squares = squares.masked_fill(away > max(radius**2, float(away.min())), torch.inf)
        # Constant features give equal candidates, up to rounding: the nearest one is taken.
        equal = squares <= squares.min() + _ROUNDING * float(descriptor.square().sum())
        index = int(away.masked_fill(~equal, torch.inf).argmin())
        found.append(low + torch.tensor(np.unravel_index(index, tuple(away.shape))))
    return torch.stack(found)


def surface_distance(labels: Tensor, organ: int, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance (I, J, K), mm, of every voxel from the organ's nearest surface voxel; inf where it has no surface.

    A surface voxel belongs to the organ and touches another label; the image's border is no surface. ``spacing`` is in
    mm.
    """
    inside = (labels == organ).numpy()
    surface = inside & ~binary_erosion(inside, border_value=1)
    if not surface.any():
        return np.full(surface.shape, np.inf)
    return distance_transform_edt(~surface, sampling=list(spacing))


@torch.no_grad()
def retrieval_rows(
    families: Sequence[StudiedFamily], pair: Pair[ImageFiles], names: Mapping[int, str], seed: int, landmarks: bool
) -> list[Row]:
    """Errors of the best matches of points on organ surfaces, mm: one row for each family and point.

    All families get the same points. The family ``before`` is the error of a point that stays at its place.

    Args:
        families: to compare.
        pair: fixed and moving image.
        names: organ of each label id.
        seed: of the draw.
        landmarks: True takes the landmarks within one feature voxel of an organ's surface; the error is the distance
            from the landmark's counterpart. False draws points on each organ's surface; the error is the distance from
            the surface of the same organ.

    Raises:
        UserError: a file cannot be used.
    """
    fixed, moving = families[0].cache.pair(pair)
    grid = families[0].grid(pair.fixed)
    spacing = grid.spacing.tolist()
    ids = [i for i in names if bool((fixed.labels == i).any()) and bool((moving.labels == i).any())]
    if landmarks and not (ids and pair.same_subject and all(files.landmarks for files in pair)):
        return []
    own, other = ({i: surface_distance(x.labels[0], i, spacing) for i in ids} for x in (fixed, moving))
    if landmarks:
        points, partners = (_working_landmarks(files, grid.affine) for files in pair)
        nearest = np.rint(points).astype(int).clip(0, np.array(grid.shape) - 1)
        away = np.stack([own[i][tuple(nearest.T)] for i in ids])
        near = away.min(axis=0) <= families[0].features.stride * max(spacing)
        organs = [ids[n] for n in away.argmin(axis=0)[near]]
        places, targets = (torch.from_numpy(p[near]).float() for p in (points, partners))
    else:
        generator = torch.Generator().manual_seed(seed)
        surfaces = [torch.from_numpy(np.argwhere(own[i] == 0)) for i in ids]
        drawn = [s[torch.randperm(len(s), generator=generator)[:SURFACE_POINTS]] for s in surfaces]
        organs = [i for i, points in zip(ids, drawn, strict=True) for _ in points]
        places = torch.cat([torch.empty(0, 3, dtype=torch.int64), *drawn])
    if not organs:
        return []
    matches = {"before": places}
    for family in families:
        # Matches are searched on the working grid: the feature grid would cost half a feature voxel of accuracy.
        f, m = (
            resize(family(prepared, files.modality), grid.shape)[0]
            for prepared, files in zip(family.cache.pair(pair), pair, strict=True)
        )
        matches[family.name] = best_matches(sample_features(f, places), m, places, spacing, WINDOW_MM)
    rows: list[Row] = []
    for name, found in matches.items():
        if landmarks:
            errors = ((found - targets) * torch.tensor(spacing)).norm(dim=1).tolist()
        else:
            errors = [float(other[i][tuple(p)]) for i, p in zip(organs, found.tolist(), strict=True)]
        common = {"family": name, "case": pair.name}
        rows += [{**common, "organ": names[i], "error_mm": e} for i, e in zip(organs, errors, strict=True)]
    return rows


def _working_landmarks(files: ImageFiles, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Landmarks of an image (N, 3) in voxels of the working grid that ``affine`` places in the world."""
    assert files.landmarks is not None
    volume = read_image(files.image)
    voxels = volume.native.points_to_canonical(read_point_table(files.landmarks, "voxel").coordinates)
    return transform_points(np.linalg.inv(affine) @ volume.grid.affine, voxels)
