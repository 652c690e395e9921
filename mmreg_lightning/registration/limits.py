"""What a registration cannot do: images that are too thin, grids and fields that need more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import MIN_SIDE
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.runtime import available_memory

MAX_WORKING_VOXELS = 2**27
"""512 voxels a side: beyond it MIND-SSC alone needs 6 GB."""
MAX_SEARCH_VOXELS = 2**24
"""256 voxels a side are more than an affine of twelve parameters needs."""
_FIXED_BYTES = 75
_MOVING_BYTES = 50
_WORKING_BYTES = 24
_FEATURE_BYTES = 24


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
            f"{image.path or f'the {role} image'} has {size} voxels, {slices}: a registration needs {MIN_SIDE} voxels "
            "or more along every axis"
        )


def check_working_size(working: Grid, spacing: float | Sequence[float], name: str = "") -> None:
    """Check that a working grid is not larger than any memory allows.

    Args:
        working: the grid.
        spacing: of the grid, mm.
        name: of the image that it is about.

    Raises:
        UserError: it has more than ``MAX_WORKING_VOXELS``.
    """
    if math.prod(working.shape) > MAX_WORKING_VOXELS:
        about = f" of {name}" if name else ""
        raise UserError(
            f"spacing={_words(spacing)}: the working grid{about} would have {_size(working.shape)} voxels, choose a "
            "larger one"
        )


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


def needed_memory(fixed: Grid, moving: Grid, working: Grid, channels: int, stride: int) -> tuple[int, int]:
    """Bytes that a registration and its files take at most besides the images, as measured.

    Args:
        fixed, moving: grids of the images.
        working: grid of the computation.
        channels, stride: of the features.

    Returns:
        Of the computation on the working grid, and of fields and images at full size: they do not coincide.
    """
    voxels = math.prod(working.shape)
    computed = voxels * (_WORKING_BYTES + _FEATURE_BYTES * channels / stride**3)
    written = max(math.prod(fixed.shape) * _FIXED_BYTES, math.prod(moving.shape) * _MOVING_BYTES)
    return int(computed), int(written)


def check_memory(fixed: Volume, moving: Volume, working: Grid, channels: int, stride: int) -> None:
    """Check that there is room for a registration before anything is computed.

    Args:
        fixed, moving: the images, in memory already.
        working: grid of the computation.
        channels, stride: of the features.

    Raises:
        UserError: ``needed_memory`` is more than the machine, or the container of this process, has left.
    """
    left = available_memory()
    if left is None:
        return
    computed, written = needed_memory(fixed.grid, moving.grid, working, channels, stride)
    if computed > left:
        raise UserError(
            f"{fixed.path or 'the fixed image'}: its working grid of {_size(working.shape)} voxels needs about "
            f"{_gigabytes(computed)} of memory and {_gigabytes(left)} are left, choose a larger spacing"
        )
    if written > left:
        raise UserError(
            f"{fixed.path or 'the fixed image'} ({_size(fixed.native.shape)} voxels) and "
            f"{moving.path or 'the moving image'} ({_size(moving.native.shape)} voxels): the fields at their full size "
            f"need about {_gigabytes(written)} of memory and {_gigabytes(left)} are left, crop or downsample the larger"
        )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _words(spacing: float | Sequence[float]) -> str:
    return str(list(spacing) if isinstance(spacing, Sequence) else spacing)


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GB"
