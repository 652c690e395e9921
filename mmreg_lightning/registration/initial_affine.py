"""The alignment that precedes the solver: kinds, files and the search by features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.geometry.grid import Grid, is_invertible
from mmreg_lightning.geometry.moments import moments_translation
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import default_spacing, field_of_view, prepare_image, working_grid
from mmreg_lightning.io.transform_names import parse_transform_name
from mmreg_lightning.io.transforms import TRANSFORM_SUFFIXES, AffineFile, read_affine
from mmreg_lightning.registration.auto_affine import JUDGE, trusted_affine
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.registration.limits import search_spacing
from mmreg_lightning.solvers.affine import AFFINE_KINDS, AffineRegistration, FeatureMap

if TYPE_CHECKING:
    from mmreg_lightning.registration.settings import Settings

AFFINES = ("auto", "none", "moments", *AFFINE_KINDS)


def read_initial_affine(affine: str | NDArray[np.float64]) -> NDArray[np.float64] | AffineFile | None:
    """What an option names: a 4x4 matrix as it is, or the affine of a transform file; None for ``AFFINES``.

    Raises:
        UserError: it is neither, the file cannot be used, or the matrix is no affine.
    """
    if not isinstance(affine, str):
        wanted = "must be an invertible 4x4 matrix with the last row 0 0 0 1"
        try:
            matrix = np.asarray(affine, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"affine={affine}: {wanted}") from error
        if not is_invertible(matrix) or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise UserError(f"affine={matrix.tolist()}: {wanted}")
        return matrix
    if affine in AFFINES:
        return None
    name = parse_transform_name(affine)
    if not name.path.exists():
        if name.kind is not None or name.inverse or affine.endswith(TRANSFORM_SUFFIXES):
            raise UserError(f"affine={affine}: there is no such file")
        raise UserError(f"affine={affine}: must be one of {', '.join(AFFINES)}, or a transform file")
    return read_affine(name)


def initial_affine(
    pair: Pair[Image], settings: Settings, spacing: float | Sequence[float]
) -> tuple[NDArray[np.float64], list[str]]:
    """The alignment that precedes the solver: 4x4, world RAS mm of the fixed to that of the moving image.

    ``none`` trusts the headers, ``moments`` aligns the centres of mass of what lies in the masks. ``rigid``,
    ``similarity`` and ``affine`` go on from both of these, and from centre on centre of the images, with
    ``AffineRegistration`` on the features, each image's on its own working grid. ``auto`` searches a rigid transform
    likewise, but always by MIND-SSC at ``default_spacing``, so that all features begin at one alignment, and takes it
    only where the headers cannot be trusted, see ``trusted_affine``.

    Args:
        pair: images, intensities as in the file.
        settings: kind or matrix, features and recipes.
        spacing: of the working grid, mm.

    Returns:
        The matrix, and what ``auto`` decided, in one sentence.

    Raises:
        UserError: an image is empty within its recipe, or the features cannot be computed.
    """
    if isinstance(settings.initial, AffineFile):
        volumes = [image.volume for image in pair]
        return settings.initial.world(volumes[0].native, volumes[1].native, (volumes[0].path, volumes[1].path)), []
    if settings.initial is not None:
        return settings.initial, []
    if settings.affine == "none":
        return np.eye(4), []
    if settings.affine == "auto":
        # Features that were not trained for these images find low energy in wrong places.
        settings = dataclasses.replace(settings, family=family_of_config(JUDGE))
        spacing = default_spacing(pair.fixed.volume.grid)
    modalities = Pair(settings.fixed_modality, settings.moving_modality)
    moments = moments_translation(
        *(_mass(image, settings.family.display(name)) for image, name in zip(pair, modalities, strict=True))
    )
    if settings.affine == "moments":
        return moments, []
    # The moving image's own working grid may be far larger than the fixed one's.
    coarse = search_spacing([image.volume.grid for image in pair], spacing)
    maps = [
        _feature_map(role, image, modality, settings, coarse)
        for role, image, modality in zip(("fixed", "moving"), pair, modalities, strict=True)
    ]
    centers = np.eye(4)
    centers[:3, 3] = pair.moving.volume.grid.center - pair.fixed.volume.grid.center
    starts = [np.eye(4), moments, centers]
    if settings.affine == "auto":
        return trusted_affine(maps[0], maps[1], starts, pair.fixed.volume.grid)
    # Checked when the options were read.
    return AffineRegistration(settings.affine)(maps[0], maps[1], starts), []  # type: ignore[arg-type]


def _mass(image: Image, recipe: Recipe) -> Volume:
    """Intensities of 0 to 1 for a centre of mass, 0 outside of the image's mask."""
    mass = normalise_intensity(image.volume.data, recipe)
    if image.mask is not None:
        mass = mass * image.mask.data
    return Volume(mass, image.volume.grid, path=image.volume.path)


def _feature_map(
    role: str, image: Image, modality: str, settings: Settings, spacing: float | Sequence[float]
) -> FeatureMap:
    """Features of an image on its own working grid."""
    features = settings.features
    grid = working_grid(image.volume.grid, spacing)
    seen = network_input(image, grid, settings.family.recipe(modality), features).to(settings.device)
    inside = field_of_view(image.volume, grid)
    if image.mask is not None:
        inside = inside * resample_volume(image.mask, grid, fill=0.0).data
    # Twelve parameters are found on the CPU in no time.
    found = features(seen, modality)
    check_features(found, role, settings)
    return FeatureMap(found.cpu(), pool(inside[None], features.stride), grid.pooled(features.stride))


def check_features(features: Tensor, role: str, settings: Settings) -> None:
    """Check that the features of the ``role`` image are numbers.

    Raises:
        UserError: some are not finite.
    """
    if not torch.isfinite(features).all():
        raise UserError(f"features={settings.family.name}: those of the {role} image are not finite")


def network_input(
    image: Image, grid: Grid, recipe: Recipe, features: FeatureExtractor, transform: NDArray[np.float64] | None = None
) -> Tensor:
    """What an extractor is given of an image: (1, 1, I, J, K) on ``grid``.

    Args:
        image: intensities as in the file.
        grid: the working grid.
        recipe: intensity recipe.
        features: the extractor; one that sees labels gets the label map.
        transform: 4x4, world RAS mm of the grid to that of the image; None is identity.

    Raises:
        UserError: the image has no contrast within the recipe, or no labels where they are wanted.
    """
    if getattr(features, "sees", "image") == "labels":
        if image.labels is None:
            raise UserError(f"{image.volume.path or 'an image'}: features of the true labels need a label map")
        return resample_volume(image.labels, grid, "nearest", transform=transform).data[None]
    return prepare_image(image.volume, grid, recipe, transform)[None]


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
            "not overlap (affine=moments aligns their centres of mass)"
        )
