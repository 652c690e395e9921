"""Intensity recipes: normalisation of the voxels of a modality to network input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.errors import UserError

Recipe = Mapping[str, float | str]
OUTLIER = 10.0
"""Intensities that are not clipped end this many widths of the window beyond it: one voxel must not set the scale."""
_PADDED_BORDER = 0.25  # share of the border's voxels
_PADDED_IMAGE = 0.05  # share of all voxels
_SOLID = 0.6  # share of the padded voxels whose six neighbours are padded, too


@dataclass
class RecipeConfig:
    """Keys of a recipe in a configuration, see ``normalise_intensity``; "???" is a value that must be given."""

    kind: str = "???"
    low: float = "???"  # type: ignore[assignment]
    high: float = "???"  # type: ignore[assignment]
    clip: bool = True


def normalise_intensity(image: Tensor, recipe: Recipe) -> Tensor:
    """Map intensities linearly, ``low`` to 0 and ``high`` to 1.

    Args:
        image: any shape.
        recipe: ``{"kind": "window", "low": a, "high": b}`` with intensities a and b (Hounsfield units, for CT), or
            ``{"kind": "percentile", "low": p, "high": q}`` with percentiles of the image (for modalities without an
            absolute scale, such as MR), without its ``padding``. The result is clipped to [0, 1], or, if the recipe has
            ``"clip": False``, to ``OUTLIER`` widths of the window around it.

    Raises:
        UserError: the kind is unknown, or ``low`` is not below ``high``.
    """
    low, high = float(recipe["low"]), float(recipe["high"])
    if not low < high:
        raise UserError(f"intensity recipe {dict(recipe)}: low must be below high")
    if recipe["kind"] == "percentile":
        low, high = _percentiles(image, low, high)
    elif recipe["kind"] != "window":
        raise UserError(f"intensity recipe {dict(recipe)}: kind must be 'window' or 'percentile'")
    # In place: of an image of 150 million voxels every copy counts.
    normalised = (image - low).div_(max(high - low, torch.finfo(image.dtype).eps))
    if recipe.get("clip", True):
        return normalised.clamp_(0, 1)
    return normalised.clamp_(-OUTLIER, 1 + OUTLIER)


def padding(image: Tensor) -> Tensor | None:
    """Where an image was filled with one value: outside of a mask, of the scanner's circle, of what was resampled.

    That is the commonest value of the image's border, where it makes a good part of border and image, in solid regions:
    air of a scanner is not solid, it has noise.

    Args:
        image: (..., I, J, K).

    Returns:
        Boolean, the image's shape; None where there is no padding, or nothing else.
    """
    if image.ndim < 3 or min(image.shape[-3:]) < 3:
        return None
    faces = [image.select(axis, index).flatten() for axis in (-3, -2, -1) for index in (0, -1)]
    border = torch.cat(faces)
    values, counts = border.unique(return_counts=True)
    commonest = int(counts.argmax())
    if int(counts[commonest]) < _PADDED_BORDER * border.numel():
        return None
    padded = image == values[commonest]
    core = padded
    for axis in (-3, -2, -1):
        core = core & _both_neighbours(padded, axis)
    total, solid = int(padded.count_nonzero()), int(core.count_nonzero())
    if total < _PADDED_IMAGE * image.numel() or total == image.numel() or solid < _SOLID * total:
        return None
    return padded


def _both_neighbours(padded: Tensor, axis: int) -> Tensor:
    """Whether both neighbours along an axis are padded; what lies beyond the border is."""
    n = padded.shape[axis]
    out = torch.ones_like(padded)
    out.narrow(axis, 1, n - 1).logical_and_(padded.narrow(axis, 0, n - 1))
    out.narrow(axis, 0, n - 1).logical_and_(padded.narrow(axis, 1, n - 1))
    return out


def _percentiles(image: Tensor, low: float, high: float) -> tuple[float, float]:
    # With NumPy: torch.quantile refuses more than 16 million values, and torch's kthvalue and selection by a mask take
    # four to eight times their memory.
    padded, values = padding(image), image.numpy(force=True).ravel()
    outside = None if padded is None else padded.numpy(force=True).ravel()
    seen = values if outside is None else values[~outside]
    ranks = [round(p / 100 * (seen.size - 1)) for p in (low, high)]
    a, b = np.partition(seen, ranks)[ranks].tolist()
    if outside is not None:
        fill = float(values[outside.argmax()])
        # Where padding looks like air it stays darker than all tissue; -3024 beside Hounsfield units sets no scale.
        if a == b:  # a shape in padding
            a, b = min(a, fill), max(b, fill)
        elif fill < a <= fill + max(b - a, abs(b - fill) / 2):
            a = fill
    return a, b
