"""The alignment that precedes the solver: kinds, files and the search by features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
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
from mmreg_lightning.geometry.working import field_of_view, prepare_image, working_grid
from mmreg_lightning.io.transform_names import parse_transform_name
from mmreg_lightning.io.transforms import TRANSFORM_SUFFIXES, AffineFile, read_affine
from mmreg_lightning.solvers.affine import AFFINE_KINDS, AffineRegistration, FeatureMap

if TYPE_CHECKING:
    from mmreg_lightning.registration.settings import Settings

AFFINES = ("none", "moments", *AFFINE_KINDS)


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


def initial_affine(pair: Pair[Image], settings: Settings, spacing: float | Sequence[float]) -> NDArray[np.float64]:
    """The alignment that precedes the solver: 4x4, world RAS mm of the fixed to that of the moving image.

    ``none`` trusts the headers, ``moments`` aligns the centres of mass. ``rigid``, ``similarity`` and ``affine`` go on
    from both of these, and from centre on centre of the images, with ``AffineRegistration`` on the features, each
    image's on its own working grid. ``moments`` does not look at masks.

    Args:
        pair: images, intensities as in the file.
        settings: kind or matrix, features and recipes.
        spacing: of the working grid, mm.

    Raises:
        UserError: an image is empty within its recipe, or the features cannot be computed.
    """
    if isinstance(settings.initial, AffineFile):
        volumes = [image.volume for image in pair]
        return settings.initial.world(volumes[0].native, volumes[1].native, (volumes[0].path, volumes[1].path))
    if settings.initial is not None:
        return settings.initial
    if settings.affine == "none":
        return np.eye(4)
    modalities = Pair(settings.fixed_modality, settings.moving_modality)
    moments = moments_translation(
        *(
            Volume(
                normalise_intensity(image.volume.data, settings.family.display(modality)),
                image.volume.grid,
                path=image.volume.path,
            )
            for image, modality in zip(pair, modalities, strict=True)
        )
    )
    if settings.affine == "moments":
        return moments
    maps = [_feature_map(image, modality, settings, spacing) for image, modality in zip(pair, modalities, strict=True)]
    centers = np.eye(4)
    centers[:3, 3] = pair.moving.volume.grid.center - pair.fixed.volume.grid.center
    # Checked when the options were read.
    return AffineRegistration(settings.affine)(maps[0], maps[1], [np.eye(4), moments, centers])  # type: ignore[arg-type]


def _feature_map(image: Image, modality: str, settings: Settings, spacing: float | Sequence[float]) -> FeatureMap:
    """Features of an image on its own working grid."""
    features = settings.features
    grid = working_grid(image.volume.grid, spacing)
    seen = network_input(image, grid, settings.family.recipe(modality), features).to(settings.device)
    inside = field_of_view(image.volume, grid)
    if image.mask is not None:
        inside = inside * resample_volume(image.mask, grid, fill=0.0).data
    # Twelve parameters are found on the CPU in no time.
    return FeatureMap(features(seen, modality).cpu(), pool(inside[None], features.stride), grid.pooled(features.stride))


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
