"""Label maps and masks that lie on another grid of the same frame than their image: cropped, or of another spacing."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume, describe

_ALIGNED = 0.1  # voxels, as two grids are the same to


def place_on(labels: Volume, image: Volume) -> Volume:
    """A label map or mask (1, I', J', K') on the grid of its image, (1, I, J, K), with a note if that is another one.

    Each voxel of the image takes the nearest one of the label map: the same numbers where both grids share their
    voxels, as the crop of an image does. Outside of the label map's grid is background.

    Raises:
        UserError: the label map belongs to another frame: no voxel of it lies in the image, more labelled voxels lie
            outside of it than inside, or it has as many voxels as the image at other places.
    """
    if labels.grid.same_as(image.grid):
        return labels
    marked, inside = _count(labels, image.grid)
    refused = f"{describe(labels)} is not on the same grid as {describe(image)}"
    if labels.grid.shape == image.grid.shape:
        raise UserError(refused)
    if not labels.grid.overlap_fraction(image.grid) and not image.grid.overlap_fraction(labels.grid):
        raise UserError(f"{refused}, and does not overlap with it")
    if marked and inside < marked / 2:
        raise UserError(f"{refused}, and {marked - inside} of its {marked} labelled voxels lie outside of it")
    how = "voxel by voxel" if _aligned(labels.grid, image.grid) else "by the nearest voxel"
    note = (
        f"{describe(labels)} has another grid than {describe(image)} and was placed on it {how}; {marked - inside} of "
        f"its {marked} labelled voxels lie outside of it"
    )
    beyond = 100 * (1 - image.grid.overlap_fraction(labels.grid))
    if beyond >= 1:
        note += f", and about {beyond:.0f} % of the image, which lie outside of the label map, count as background"
    data = resample_volume(labels, image.grid, "nearest").data
    native = dataclasses.replace(image.native, notes=(*labels.native.notes, note))
    return Volume(data, image.grid, native, labels.path, labels.stored)


def _aligned(grid: Grid, other: Grid) -> bool:
    """Whether the voxels of two grids coincide where they overlap, to a tenth of a voxel."""
    matrix = other.voxel_to(grid)
    turned = np.abs(matrix[:3, :3] - np.eye(3)) @ np.array(other.shape)
    return bool((turned + np.abs(matrix[:3, 3] - np.rint(matrix[:3, 3])) <= _ALIGNED).all())


def _count(labels: Volume, grid: Grid) -> tuple[int, int]:
    """Number of voxels that are not background, and of those among them whose centre lies within another grid."""
    matrix = labels.grid.voxel_to(grid)
    marked = inside = 0
    for i, plane in enumerate(labels.data[0]):
        voxels = torch.nonzero(plane).numpy()
        points = transform_points(matrix, np.column_stack([np.full(len(voxels), i), voxels]))
        marked += len(voxels)
        inside += int(((points > -0.5) & (points < np.array(grid.shape) - 0.5)).all(axis=1).sum())
    return marked, inside
