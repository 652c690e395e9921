"""Apply saved transforms to images, label maps, points and meshes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.straight import straight_layout
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.transform import vote_labels, warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import (
    ChainTransform,
    WorldTransform,
    map_points,
    transform_displacement,
)
from mmreg_lightning.io.field_formats import field_name
from mmreg_lightning.io.images import (
    image_of_array,
    labels_of_array,
    read_image,
    read_labels,
    read_layout,
    write_image,
)
from mmreg_lightning.io.points import PointsFrame, is_point_file, read_points
from mmreg_lightning.io.time_series import TimeSeries, open_time_series, write_time_series
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
    series: str | None = None,
    reference_series: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Apply a transform to a file.

    An image is sampled once: each voxel of the reference looks where the transform takes it. A point goes where the
    transform takes it. A transform from the fixed to the moving image so brings a moving image to the fixed one, but
    fixed points to the moving image; the inverse brings moving points to the fixed image.

    Of a series over time every frame is sampled, one after the other, and its time between frames is kept.

    Args:
        transform: of ``read_chain``.
        source: image, or file of points (see ``read_points``).
        out: file to write; an image as NIfTI, points in the form of ``source``.
        reference: image that gives the grid of the result; for points in voxels, the image in whose voxels they are
            written.
        labels: the image is a label map: ``nearest`` voxel, or ``vote`` (see ``vote_labels``). None is an image.
        points_frame: see ``read_points``.
        points_image: image in whose voxels the points of ``source`` are.
        series, reference_series: SeriesInstanceUID, where ``source`` or ``reference`` is a folder with several DICOM
            series.
        overwrite: replace ``out``.
        progress: called with (frames done, frames in all) of a series over time.

    Returns:
        A line that says what was done, and one for each note on the images.

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
    frames = open_time_series(source) if series is None else None
    moving = _first(source, labels, series, frames)
    native = straight_layout(read_layout(reference, reference_series), str(reference))
    grid = native.canonical_grid
    like = Volume(torch.empty(1, *grid.shape), grid, native)
    ensure_output_dir(target.parent)
    displacement = transform_displacement(transform, grid)
    _check_seen(moving, displacement, like, source, reference)

    def warped(volume: Volume) -> Volume:
        if labels == "vote":
            return vote_labels(volume, displacement, grid)
        return warp_volume(volume, displacement, grid, "linear" if labels is None else "nearest")

    done = f"{source} sampled on the grid of {reference}"
    if frames is None:
        write_image(warped(moving), target, like=like, dtype=moving.stored)
    else:
        done = f"{frames.count} frames of {done}"
        _apply_to_frames(frames, warped, target, labels, native, moving.stored, progress)
    notes = dict.fromkeys((*moving.native.notes, *native.notes))
    return "\n".join([done, *(f"Note: {note}" for note in notes)])


def _first(source: str | Path, labels: Labels | None, series: str | None, frames: TimeSeries | None) -> Volume:
    """The image or label map to sample, or the first frame of several."""
    if frames is not None:
        return _frame(frames, 0, labels)
    return read_image(source, series) if labels is None else read_labels(source, series)


def _frame(frames: TimeSeries, index: int, labels: Labels | None) -> Volume:
    name = frames.path if index == 0 else f"frame {index + 1} of {frames.path}"
    array = frames.read(index)
    if labels is not None:
        return labels_of_array(array, frames.native, name)
    return image_of_array(array, frames.native, name, constant=True)


def _apply_to_frames(
    frames: TimeSeries,
    warped: Callable[[Volume], Volume],
    target: Path,
    labels: Labels | None,
    native: NativeGrid,
    stored: np.dtype[Any] | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    def moved() -> Iterator[NDArray[Any]]:
        for index in range(frames.count):
            yield native.from_canonical(warped(_frame(frames, index, labels)).data[0].numpy())
            if progress is not None:
                progress(index + 1, frames.count)

    write_time_series(moved(), frames, native, target, np.dtype(np.float32) if stored is None else stored)


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
