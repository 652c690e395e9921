"""The features of one image, or of two in one feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from mmreg_lightning.geometry.working import default_spacing, working_grid
from mmreg_lightning.inspection.retrieval import sample_features
from mmreg_lightning.registration.initial_affine import network_input
from mmreg_lightning.registration.limits import check_working_size
from mmreg_lightning.registration.settings import Settings


@dataclass(frozen=True)
class MappedImage:
    """An image and its features.

    Attributes:
        volume: as read.
        modality: name.
        shown: (I, J, K) in [0, 1] on the grid of ``volume``.
        features: (C, i, j, k).
        grid: of the features, in the image's world.
        labels: (1, I, J, K) on the grid of ``volume``, if any.
        notes: what was assumed when the files were read.
    """

    volume: Volume
    modality: str
    shown: Tensor
    features: Tensor
    grid: Grid
    labels: Volume | None
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Modality and name of the file without its ending."""
        name = "image" if self.volume.path is None else self.volume.path.name
        return f"{self.modality} {name.removesuffix('.gz').removesuffix('.nii')}"

    @property
    def focus(self) -> NDArray[np.float64]:
        """(3,) world RAS mm: the middle of the labels, or of the image where there are none."""
        grid = self.volume.grid
        inside = None if self.labels is None else self.labels.data[0] > 0
        if inside is None or not bool(inside.any()):
            return grid.center
        return transform_points(grid.affine, inside.nonzero().double().mean(dim=0).numpy())

    def from_centre(self, world: NDArray[np.float64]) -> list[float]:
        """A point (3,), world RAS mm, in mm from the image's centre along its axes."""
        grid = self.volume.grid
        return (grid.direction.T @ (world - grid.center)).tolist()


@dataclass(frozen=True)
class Similarity:
    """Similarity of an image's features to those of a point.

    Attributes:
        point: (3,) the point that was asked for, voxels of its image file.
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

    def numbers(self) -> dict[str, Any]:
        """Entry of features.json."""
        return {
            "point_voxel": list(self.point),
            "point_world_ras_mm": self.world.tolist(),
            "match_voxel": self.match_voxel.tolist(),
            "match_world_ras_mm": self.match_world.tolist(),
            "match_similarity": float(self.map.max()),
            "part_above_half": float((self.map > 0.5).float().mean()),
        }


@torch.no_grad()
def map_image(files: ImageFiles, settings: Settings) -> MappedImage:
    """Read an image and compute its features on its own working grid.

    Args:
        files: what to read.
        settings: features, intensity recipes, spacing and device.

    Raises:
        UserError: a file cannot be used, the labels are not on the grid of the image, or the working grid is too large.
    """
    image = files.read()
    volume, family, extractor = image.volume, settings.family, settings.features
    spacing = settings.spacing or default_spacing(volume.grid)
    grid = working_grid(volume.grid, spacing)
    check_working_size(grid, spacing)
    seen = network_input(image, grid, family.recipe(files.modality), extractor).to(settings.device)
    features = extractor(seen, files.modality)[0].cpu()
    shown = normalise_intensity(volume.data, family.display(files.modality))[0]
    return MappedImage(
        volume,
        files.modality,
        shown,
        features,
        grid.pooled(extractor.stride),
        image.labels,
        [*image.notes, *family.assumed(str(volume.path or "the image"), files.modality)],
    )


def organ_effects(image: MappedImage) -> dict[int, NDArray[np.float64]] | None:
    """Effect size (C,) of every channel for each organ that the image shows; None without labels.

    A feature voxel belongs to the organ at its centre.
    """
    if image.labels is None:
        return None
    labels = resample_volume(image.labels, image.grid, "nearest").data[0]
    ids = sorted(set(labels.unique().tolist()) - {0})
    return dict(zip(ids, effect_sizes(image.features, labels, ids).T, strict=True))


def similarity(source: MappedImage, point: Sequence[float], target: MappedImage) -> Similarity:
    """Similarity of all features of an image to those of a point: ``exp(-d^2 / median d^2)``, d being their distance.

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
    return Similarity(point, world[0], alike, match, native)


def effect_sizes(features: Tensor, labels: Tensor, ids: Sequence[int]) -> NDArray[np.float64]:
    """Cohen's d of every channel between every organ and all other voxels of the image.

    d is the difference of the two means divided by ``sqrt((var_in + var_out) / 2)``; 0.8 is a large effect.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: label ids of the L organs.

    Returns:
        (C, L) without unit; NaN for an organ of fewer than two voxels, 0 for a channel that is constant.

    Source:
        J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2.
    """
    flat = features.flatten(1).double()
    table = np.full((len(flat), len(ids)), np.nan)
    for column, organ in enumerate(ids):
        inside = (labels == organ).flatten()
        a, b = flat[:, inside], flat[:, ~inside]
        if min(a.shape[1], b.shape[1]) >= 2:
            spread = ((a.var(dim=1) + b.var(dim=1)) / 2).sqrt()
            difference = a.mean(dim=1) - b.mean(dim=1)
            table[:, column] = torch.where(spread > 0, difference / spread.clamp_min(1e-12), 0.0).numpy()
    return table


def clustered_order(table: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Order of a table's rows and columns in which similar ones are neighbours.

    Hierarchical clustering with average linkage and Euclidean distances, and optimal order of the leaves. NaN counts as
    0.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    def leaves(vectors: NDArray[np.float64]) -> list[int]:
        if len(vectors) < 3:
            return list(range(len(vectors)))
        return leaves_list(linkage(vectors, "average", optimal_ordering=True)).tolist()

    filled = np.nan_to_num(table)
    return leaves(filled), leaves(filled.T)
