"""The alignment that precedes the solver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.moments import moments_translation
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import field_of_view, prepare_image, working_grid
from mmreg_lightning.solvers.affine import AffineRegistration, FeatureMap

Affine = Literal["none", "moments", "rigid", "similarity", "affine"]
AFFINES: tuple[Affine, ...] = get_args(Affine)
Masks = tuple[Volume | None, Volume | None]
"""Of the fixed and of the moving image, on their grids; see ``extract_features``."""


def initial_affine(
    fixed: Volume,
    moving: Volume,
    kind: Affine,
    recipes: tuple[Recipe, Recipe],
    masses: tuple[Recipe, Recipe],
    features: FeatureExtractor,
    modalities: tuple[str, str],
    spacing: float | Sequence[float],
    masks: Masks = (None, None),
    device: torch.device | str = "cpu",
) -> NDArray[np.float64]:
    """The alignment that precedes the solver: 4x4, world RAS mm of the fixed to that of the moving image.

    ``none`` trusts the headers, ``moments`` aligns the centres of mass. ``rigid``, ``similarity`` and ``affine`` go on
    from both of these, and from centre on centre of the images, with ``AffineRegistration`` on the features, each
    image's on its own working grid.

    Args:
        fixed, moving: (1, I, J, K), intensities as in the file.
        kind: see above.
        recipes, modalities: intensity recipe and name of the fixed and of the moving modality.
        masses: intensity recipes for the centres of mass.
        features, spacing, masks, device: see ``extract_features``; ``moments`` does not look at masks.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in AFFINES:
        raise ValueError(f"affine={kind!r}: must be one of {', '.join(AFFINES)}")
    if kind == "none":
        return np.eye(4)
    moments = _moments(fixed, moving, masses)
    if kind == "moments":
        return moments
    maps = [
        _feature_map(volume, mask, features, modality, recipe, spacing, device)
        for volume, mask, modality, recipe in zip((fixed, moving), masks, modalities, recipes, strict=True)
    ]
    centers = np.eye(4)
    centers[:3, 3] = moving.grid.center - fixed.grid.center
    return AffineRegistration(kind)(maps[0], maps[1], [np.eye(4), moments, centers])


def _feature_map(
    volume: Volume,
    mask: Volume | None,
    features: FeatureExtractor,
    modality: str,
    recipe: Recipe,
    spacing: float | Sequence[float],
    device: torch.device | str,
) -> FeatureMap:
    """Features of an image on its own working grid."""
    grid = working_grid(volume.grid, spacing)
    image = prepare_image(volume, grid, recipe)[None].to(device)
    inside = field_of_view(volume, grid)
    if mask is not None:
        inside = inside * resample_volume(mask, grid, fill=0.0).data
    # Twelve parameters are found on the CPU in no time.
    return FeatureMap(
        features(image, modality).cpu(), pool(inside[None], features.stride), grid.pooled(features.stride)
    )


def _moments(fixed: Volume, moving: Volume, recipes: tuple[Recipe, Recipe]) -> NDArray[np.float64]:
    normalised = (
        Volume(normalise_intensity(volume.data, {**recipe, "clip": True}), volume.grid, path=volume.path)
        for volume, recipe in zip((fixed, moving), recipes, strict=True)
    )
    return moments_translation(*normalised)


def check_overlap(fixed: Volume, moving: Volume, initial: NDArray[np.float64]) -> None:
    """Check that the images have something in common under the initial affine.

    Raises:
        UserError: the fields of view do not overlap.
    """
    aligned = Grid(moving.grid.shape, np.linalg.inv(initial) @ moving.grid.affine)
    # Counted on a lattice of each, so that a small image within a large one is not missed.
    if fixed.grid.overlap_fraction(aligned) == 0 and aligned.overlap_fraction(fixed.grid) == 0:
        raise UserError(
            f"{fixed.path or 'the fixed image'} and {moving.path or 'the moving image'}: their fields of view do "
            "not overlap (--affine moments aligns their centres of mass)"
        )
