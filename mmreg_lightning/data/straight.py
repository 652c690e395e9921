"""Images on sheared grids (a tilted gantry, an affine registration in the header) as images on rigid ones."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from mmreg_lightning.data.pair import Image
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.rigid import is_rigid, rigid_grid
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume


def straight_image(image: Image) -> Image:
    """The image on the ``rigid_grid`` of its file's grid, with a note; the image itself where it is on a rigid one.

    ITK, ANTs and Slicer read no NIfTI on a sheared grid, so nothing that is written for them may be on one. The image
    is interpolated linearly; label map and mask take the nearest voxel; landmarks keep their places in the world. The
    corners of the rigid grid that the image does not reach are outside the mask.

    Args:
        image: the fixed image, with what belongs to it.
    """
    volume = image.volume
    if is_rigid(volume.grid.affine):
        return image
    native = straight_layout(volume.native, str(volume.path or "the fixed image"))
    inside = torch.ones_like(volume.data, dtype=torch.float32) if image.mask is None else image.mask.data
    mask = _resampled(Volume(inside, volume.grid, path=volume.path), native, "nearest")
    labels = None if image.labels is None else _resampled(image.labels, native, "nearest")
    landmarks = image.landmarks
    if landmarks is not None:
        landmarks = transform_points(volume.grid.voxel_to(native.canonical_grid), landmarks)
    return dataclasses.replace(
        image, volume=_resampled(volume, native, "linear"), labels=labels, mask=mask, landmarks=landmarks, straight=True
    )


def straight_layout(native: NativeGrid, name: str) -> NativeGrid:
    """The ``rigid_grid`` of a file, in its axis order, with a note where that is another grid than the file's.

    Args:
        native: layout of the file.
        name: of the file, for the note.
    """
    grid = Grid(native.shape, native.affine)
    if is_rigid(grid.affine):
        return native
    rigid = rigid_grid(grid)
    straight = NativeGrid(rigid.shape, rigid.affine)
    note = (
        f"{name}: its grid is sheared, which ITK, ANTs and Slicer cannot read, so what is written lies on a rigid grid "
        f"that covers it, {straight.description}."
    )
    return dataclasses.replace(straight, notes=(*native.notes, note))


def _resampled(volume: Volume, native: NativeGrid, mode: Literal["linear", "nearest"]) -> Volume:
    grid = native.canonical_grid
    # Without the smoothing of ``resample_volume``, which takes a shear for a coarser spacing.
    still = torch.zeros(1, 3, *grid.shape)
    data = warp_volume(volume, still, grid, mode).data
    layout = dataclasses.replace(native, notes=tuple(dict.fromkeys((*native.notes, *volume.native.notes))))
    return Volume(data, grid, layout, volume.path, volume.stored)
