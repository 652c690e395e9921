"""Apply a transform to an image, a label map, or every frame of a series over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.straight import straight_layout
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import vote_labels, warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import WorldTransform, lattice, transform_displacement
from mmreg_lightning.io.images import (
    check_fill,
    image_of_array,
    labels_of_array,
    read_image,
    read_labels,
    read_layout,
    write_image,
)
from mmreg_lightning.io.time_series import TimeSeries, open_time_series, write_time_series
from mmreg_lightning.io.transforms import TransformFile

Labels = Literal["nearest", "vote"]
GOES_ON = (
    "where a field goes on with the affine of its result folder, a field alone with the affine closest to it, and "
    "B-splines of ITK without displacement"
)
Progress = Callable[[int, int], None]


def apply_to_image(
    transform: TransformFile,
    source: str | Path,
    target: Path,
    reference: str | Path,
    *,
    labels: Labels | None = None,
    series: str | None = None,
    reference_series: str | None = None,
    fill: float | None = None,
    progress: Progress | None = None,
) -> tuple[str, tuple[str, ...]]:
    """See ``apply_to_file``, which checks the names of the files.

    Returns:
        What was done, and what was assumed on the way, one sentence each.

    Raises:
        UserError: a file or option cannot be used.
    """
    frames = open_time_series(source) if series is None else None
    moving = _first(source, labels, series, frames)
    if labels is not None and fill is not None and not (fill >= 0 and fill.is_integer()):
        raise UserError(f"fill={fill:g}: must be a label, a whole number of 0 or more")
    check_fill(fill, moving)
    native = straight_layout(read_layout(reference, reference_series), str(reference))
    grid = native.canonical_grid
    like = Volume(torch.empty(1, *grid.shape), grid, native)
    ensure_output_dir(target.parent)
    displacement = transform_displacement(transform.transform, grid)
    _check_seen(moving, displacement, like, source, reference)

    def warped(volume: Volume) -> Volume:
        if labels == "vote":
            return vote_labels(volume, displacement, grid, int(fill or 0))
        return warp_volume(volume, displacement, grid, "linear" if labels is None else "nearest", fill)

    done = f"{source} sampled on the grid of {reference}"
    if frames is None:
        write_image(warped(moving), target, like=like, dtype=moving.stored)
    else:
        done = f"{frames.count} frames of {done}"
        stored = np.dtype(np.float32) if moving.stored is None else moving.stored

        def moved() -> Iterator[NDArray[Any]]:
            for index in range(frames.count):
                yield native.from_canonical(warped(_frame(frames, index, labels)).data[0].numpy())
                if progress is not None:
                    progress(index + 1, frames.count)

        write_time_series(moved(), frames, native, target, stored)
    notes = (*transform.notes, *moving.native.notes, *native.notes, *_beyond(transform.transform, grid, reference))
    return done, tuple(dict.fromkeys(notes))


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


def _beyond(transform: WorldTransform, grid: Grid, reference: str | Path) -> list[str]:
    """A note where the reference is larger than a displacement field."""
    outside = ~transform.covers(torch.from_numpy(transform_points(grid.affine, lattice(grid.shape))))
    if not outside.any():
        return []
    share = 100 * float(outside.double().mean())
    return [f"{reference}: {max(share, 1):.0f} % of it lies outside of the field of view of the transform, {GOES_ON}"]


def _check_seen(moving: Volume, displacement: Tensor, like: Volume, source: str | Path, reference: str | Path) -> None:
    """The commonest mistake, the wrong direction, would otherwise write an empty image."""
    ones = Volume(torch.ones_like(moving.data, dtype=torch.float32), moving.grid)
    if not warp_volume(ones, displacement, like.grid, "nearest").data.any():
        raise UserError(
            f"{source}: no voxel of {reference} is taken into it by the transform; a moving image is brought to the "
            "fixed grid without inverse, a fixed image to the moving grid with it"
        )
