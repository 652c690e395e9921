"""What a registration cannot do: images that are too thin, grids and fields that need more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import MIN_SIDE
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.runtime import available_memory

MAX_WORKING_VOXELS = 2**27
"""512 voxels a side: beyond it MIND-SSC alone needs 6 GB."""
MAX_SEARCH_VOXELS = 2**24
"""256 voxels a side are more than an affine of twelve parameters needs."""
_REPORT_BYTES = 250 * 10**6
"""Of libraries and figures, whatever the size of the images."""
_FIXED_BYTES, _LABELS_BYTES = 70, 20
"""Bytes for each voxel of the fixed image, up to the report; with labels more. Measured: 65 at 512x512x600."""
_HELD_BYTES, _MOVING_BYTES = 30, 40
"""Bytes for each voxel of the fixed and of the moving image while the inverse field is computed."""
_IMAGE_BYTES, _SOLVER_BYTES = 90, 960
"""Bytes for each voxel of the working grid, and for each voxel of the features, of up to 16 channels."""


def check_thickness(image: Volume, role: str) -> None:
    """Check that an image has a third dimension to register.

    Args:
        image: as in the file.
        role: ``fixed`` or ``moving``, for the message where there is no file.

    Raises:
        UserError: it has fewer than ``MIN_SIDE`` voxels along an axis, as a single slice has.
    """
    thinnest = min(image.grid.shape)
    if thinnest < MIN_SIDE:
        size, slices = _size(image.native.shape), "1 slice" if thinnest == 1 else f"{thinnest} slices"
        raise UserError(
            f"{_name(image, role)} has {size} voxels, {slices}: a registration needs {MIN_SIDE} voxels "
            "or more along every axis"
        )


def check_working_size(working: Grid, spacing: float | Sequence[float]) -> None:
    """Check that a working grid is not larger than any memory allows.

    Args:
        working: the grid.
        spacing: of the grid, mm.

    Raises:
        UserError: it has more than ``MAX_WORKING_VOXELS``.
    """
    if math.prod(working.shape) > MAX_WORKING_VOXELS:
        size = _size(working.shape)
        raise UserError(f"spacing={spacing}: the working grid would have {size} voxels, choose a larger one")


def search_spacing(grids: Sequence[Grid], spacing: float | Sequence[float]) -> float | list[float]:
    """Spacing of the working grids on which an affine is searched, mm.

    Args:
        grids: of both images. Each has a working grid of its own, and the moving image may be far larger.
        spacing: of the registration, mm.

    Returns:
        ``spacing``, or so much more that no working grid has more than about ``MAX_SEARCH_VOXELS``.
    """
    largest = max(math.prod(grid.resampled(spacing).shape) for grid in grids)
    factor = max(1.0, (largest / MAX_SEARCH_VOXELS) ** (1 / 3))
    if isinstance(spacing, Sequence):
        return [side * factor for side in spacing]
    return spacing * factor


def needed_memory(pair: Pair[Image], working: Grid, channels: int, stride: int) -> tuple[int, int]:
    """Bytes that a registration and its files take at most besides the images, as measured on a CPU.

    Args:
        pair: the images.
        working: grid of the computation.
        channels, stride: of the features.

    Returns:
        Of the computation on the working grid, and of fields and images at full size, which comes after it. Field
        formats besides ``itk`` take up to twice as much.
    """
    fixed, moving = (math.prod(image.volume.grid.shape) for image in pair)
    voxels = math.prod(working.shape)
    computed = voxels * (_IMAGE_BYTES + _SOLVER_BYTES / stride**3 * max(1.0, channels / 16))
    labelled = any(image.labels is not None for image in pair)
    reported = fixed * (_FIXED_BYTES + _LABELS_BYTES * labelled)
    return int(computed), _REPORT_BYTES + max(reported, fixed * _HELD_BYTES + moving * _MOVING_BYTES)


def check_memory(pair: Pair[Image], working: Grid, channels: int, stride: int) -> None:
    """Check that there is room for a registration before anything is computed.

    Args:
        pair: the images, in memory already.
        working: grid of the computation.
        channels, stride: of the features.

    Raises:
        UserError: ``needed_memory`` is more than the machine, or the container of this process, has left.
    """
    left = available_memory()
    if left is None:
        return
    computed, written = needed_memory(pair, working, channels, stride)
    names = [_name(image.volume, role) for image, role in zip(pair, ("fixed", "moving"), strict=True)]
    if computed > left:
        raise UserError(
            f"{names[0]}: the working grid of {_size(working.shape)} voxels needs about {_gigabytes(computed)} of "
            f"memory, {_gigabytes(left)} are left; choose a larger spacing or crop the image"
        )
    if written > left:
        sizes = [_size(image.volume.native.shape) for image in pair]
        raise UserError(
            f"{names[0]} ({sizes[0]} voxels) and {names[1]} ({sizes[1]} voxels): the results at full size need about "
            f"{_gigabytes(written)} of memory, {_gigabytes(left)} are left; crop or downsample the larger image"
        )


def _name(image: Volume, role: str) -> str:
    return f"the {role} image" if image.path is None else str(image.path)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GB"
