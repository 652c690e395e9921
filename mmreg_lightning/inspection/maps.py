"""The features of one image, or of two in one feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import working_grid
from mmreg_lightning.inspection.effect_size import effect_sizes
from mmreg_lightning.inspection.retrieval import sample_features
from mmreg_lightning.registration.initial_affine import network_input
from mmreg_lightning.registration.settings import Settings, default_spacing
from mmreg_lightning.registration.solve import check_working_size


@dataclass(frozen=True)
class MappedImage:
    """An image and its features.

    Attributes:
        volume: as read.
        modality: name.
        shown: (I, J, K) in [0, 1] on the grid of ``volume``.
        features: (C, i, j, k).
        grid: of the features, in the image's world.
        labels: (1, I, J, K) on the grid of ``volume``, where there are any.
    """

    volume: Volume
    modality: str
    shown: Tensor
    features: Tensor
    grid: Grid
    labels: Volume | None

    @property
    def feature_labels(self) -> Tensor | None:
        """(i, j, k): the label at the centre of each feature voxel."""
        return None if self.labels is None else resample_volume(self.labels, self.grid, "nearest").data[0]


@dataclass(frozen=True)
class Similarity:
    """Where else features are like those of a point.

    Attributes:
        point: (3,) voxel of the image file that was asked for.
        world: (3,) the same place, world RAS mm.
        map: (i, j, k) on the feature grid of the image that was searched, in (0, 1]; 1 is identical.
        match_world: (3,) centre of the most similar feature voxel, world RAS mm of the searched image.
        match_voxel: (3,) the same in voxels of its file.
    """

    point: Sequence[float]
    world: NDArray[np.float64]
    map: Tensor
    match_world: NDArray[np.float64]
    match_voxel: NDArray[np.float64]


@torch.no_grad()
def map_image(files: ImageFiles, settings: Settings) -> MappedImage:
    """Read an image and compute its features on its own working grid.

    Args:
        files: what to read.
        settings: features, recipes, spacing and device.

    Raises:
        UserError: a file cannot be used, or the labels are not on the grid of the image.
    """
    image = files.read()
    volume, family, extractor = image.volume, settings.family, settings.features
    spacing = settings.spacing or default_spacing(volume.grid)
    grid = working_grid(volume.grid, spacing)
    check_working_size(grid, spacing)
    seen = network_input(image, grid, family.recipe(files.modality), extractor).to(settings.device)
    features = extractor(seen, files.modality)[0].cpu()
    shown = normalise_intensity(volume.data, family.display(files.modality))[0]
    return MappedImage(volume, files.modality, shown, features, grid.pooled(extractor.stride), image.labels)


def organ_effects(image: MappedImage) -> tuple[list[int], NDArray[np.float64]] | None:
    """Ids of the organs that the image shows, and the table of ``effect_sizes``; None without labels."""
    labels = image.feature_labels
    if labels is None:
        return None
    ids = sorted(set(labels.unique().tolist()) - {0})
    return ids, effect_sizes(image.features, labels, ids)


def similarity(source: MappedImage, point: Sequence[float], target: MappedImage) -> Similarity:
    """How alike the features of the target are to those of a point: ``exp(-d^2 / median d^2)``, d their distance.

    Args:
        source: image of the point.
        point: (3,) voxels of its file.
        target: image to search.

    Raises:
        UserError: the point lies outside its image.
    """
    shape = source.volume.native.shape
    if any(not -0.5 <= x <= n - 0.5 for x, n in zip(point, shape, strict=True)):
        raise UserError(f"point={' '.join(f'{x:g}' for x in point)}: lies outside the image of {shape} voxels")
    world = transform_points(source.volume.grid.affine, source.volume.native.points_to_canonical([point]))
    voxel = transform_points(np.linalg.inv(source.grid.affine), world)
    descriptor = sample_features(source.features, torch.from_numpy(voxel))[0]
    squares = (target.features - descriptor.view(-1, 1, 1, 1)).square().sum(dim=0)
    alike = torch.exp(-squares / squares.median().clamp_min(1e-12))
    best = np.array(np.unravel_index(int(squares.argmin()), tuple(squares.shape)), dtype=float)
    match = transform_points(target.grid.affine, best)
    canonical = transform_points(np.linalg.inv(target.volume.grid.affine), match)
    native = target.volume.native.points_from_canonical(canonical[None])[0]
    return Similarity(list(point), world[0], alike, match, native)
