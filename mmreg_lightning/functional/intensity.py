"""Intensity recipes: normalisation of the voxels of a modality to network input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmreg_lightning.errors import UserError

Recipe = Mapping[str, float | str]


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
            absolute scale, such as MR). The result is clipped to [0, 1] unless the recipe has ``"clip": False``.

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
    normalised = (image - low) / max(high - low, torch.finfo(image.dtype).eps)
    return normalised.clamp(0, 1) if recipe.get("clip", True) else normalised


def _percentiles(image: Tensor, low: float, high: float) -> tuple[float, float]:
    values = image.flatten()
    n = values.numel()
    # torch.quantile refuses more than 16 million values.
    ranks = [1 + round(p / 100 * (n - 1)) for p in (low, high)]
    a, b = (float(values.kthvalue(rank).values) for rank in ranks)
    return a, b
