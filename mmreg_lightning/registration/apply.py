"""Apply saved transforms to images, label maps, points and meshes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.data.straight import straight_layout
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.geometry.transform import vote_labels, warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import (
    ChainTransform,
    WorldTransform,
    map_points,
    transform_displacement,
)
from mmreg_lightning.io.field_formats import field_name
from mmreg_lightning.io.images import read_image, read_labels, read_layout, write_image
from mmreg_lightning.io.points import PointsFrame, is_point_file, read_points
from mmreg_lightning.io.transforms import read_transform

Labels = Literal["nearest", "vote"]


def read_chain(transforms: Sequence[str], inverse: bool = False) -> WorldTransform:
    """Several transform files as one transform, in the order in which a point passes through them.

    Args:
        transforms: files, see ``read_transform``; or folders that ``mmreg-register`` wrote. ``[FILE,1]`` is the inverse
            of a file, as ANTs writes it.
        inverse: of the whole chain.

    Raises:
        UserError: a file cannot be used.
    """
    links = [_link(text) for text in transforms]
    chain = links[0] if len(links) == 1 else ChainTransform(links)
    return chain.inverse() if inverse else chain


def apply_to_file(
    transform: WorldTransform,
    source: str | Path,
    out: str | Path,
    *,
    reference: str | Path | None = None,
    labels: Labels | None = None,
    points_frame: PointsFrame | None = None,
    points_image: str | Path | None = None,
    overwrite: bool = False,
) -> str:
    """Apply a transform to a file.

    An image is sampled once: each voxel of the reference looks where the transform takes it. A point goes where the
    transform takes it. A transform from the fixed to the moving image so brings a moving image to the fixed one, but
    fixed points to the moving image; the inverse brings moving points to the fixed image.

    Args:
        transform: of ``read_chain``.
        source: image, or file of points (see ``read_points``).
        out: file to write; an image as NIfTI, points in the form of ``source``.
        reference: image that gives the grid of the result; for points in voxels, the image in whose voxels they are
            written.
        labels: the image is a label map: ``nearest`` voxel, or ``vote`` (see ``vote_labels``). None is an image.
        points_frame: see ``read_points``.
        points_image: image in whose voxels the points of ``source`` are.
        overwrite: replace ``out``.

    Returns:
        One line that says what was done, and a line for each note about the headers of the files.

    Raises:
        UserError: a file or option cannot be used, or a point lies outside of the transform's field of view.
    """
    target = Path(out)
    if target.exists() and not overwrite:
        raise UserError(f"out={target}: exists, name another file or add overwrite=True")
    if is_point_file(source):
        if Path(source).suffix.lower() != target.suffix.lower():
            raise UserError(f"out={target}: must end in {Path(source).suffix} as the input {source} does")
        if labels is not None:
            raise UserError(f"labels={labels}: {source} holds points, not a label map")
        return _apply_to_points(transform, Path(source), target, reference, points_frame, points_image)
    if points_frame is not None or points_image is not None:
        raise UserError(f"points_frame and points_image are for points, but {source} is taken for an image")
    if not target.name.endswith((".nii", ".nii.gz")):
        raise UserError(f"out={target}: the name of an image must end in .nii or .nii.gz")
    if reference is None:
        raise UserError(f"reference must name the image on whose grid {source} is wanted")
    moving = read_image(source) if labels is None else read_labels(source)
    native = straight_layout(read_layout(reference), str(reference))
    grid = native.canonical_grid
    like = Volume(torch.empty(1, *grid.shape), grid, native)
    ensure_output_dir(target.parent)
    displacement = transform_displacement(transform, grid)
    _check_seen(moving, displacement, like, source, reference)
    if labels == "vote":
        warped = vote_labels(moving, displacement, grid)
    else:
        warped = warp_volume(moving, displacement, grid, "linear" if labels is None else "nearest")
    write_image(warped, target, like=like, dtype=moving.stored)
    done = f"{source} sampled on the grid of {reference}"
    return "\nNote: ".join(dict.fromkeys((done, *native.notes, *moving.native.notes)))


def _check_seen(moving: Volume, displacement: Tensor, like: Volume, source: str | Path, reference: str | Path) -> None:
    """The commonest mistake, the wrong direction, would otherwise write an empty image."""
    ones = Volume(torch.ones_like(moving.data, dtype=torch.float32), moving.grid)
    if not warp_volume(ones, displacement, like.grid, "nearest").data.any():
        raise UserError(
            f"{source}: no voxel of {reference} is taken into it by the transform; a moving image is brought to the "
            "fixed grid without inverse, a fixed image to the moving grid with it"
        )


def _apply_to_points(
    transform: WorldTransform,
    source: Path,
    out: Path,
    reference: str | Path | None,
    frame: PointsFrame | None,
    image: str | Path | None,
) -> str:
    layouts = [None if path is None else read_layout(path) for path in (image, reference)]
    file = read_points(source, frame, layouts[0], layouts[1])
    outside = ~transform.covers(torch.from_numpy(np.ascontiguousarray(file.points)))
    if outside.any():
        first = int(outside.nonzero()[0])
        place = ", ".join(f"{value:.4g}" for value in file.points[first])
        raise UserError(
            f"{source}: {int(outside.sum())} of {len(file.points)} points lie outside of the field of view of the "
            f"transform, the first is number {first + 1} at RAS ({place}) mm"
        )
    ensure_output_dir(out.parent)
    file.write(map_points(transform, file.points), out)
    notes = [note for layout in layouts if layout is not None for note in layout.notes]
    return "\nNote: ".join(dict.fromkeys((f"{len(file.points)} points of {source} mapped", *notes)))


def _link(text: str) -> WorldTransform:
    inverted = text.startswith("[") and text.endswith("]")
    path, separator, flag = text[1:-1].rpartition(",") if inverted else (text, "", "0")
    if inverted and (not separator or flag.strip() not in ("0", "1")):
        raise UserError(f"transforms={text}: must be [FILE,1] for the inverse of a file")
    file = Path(path)
    if file.is_dir():
        file = file / field_name("displacement", "itk")
    transform = read_transform(file)
    return transform.inverse() if flag.strip() == "1" else transform
