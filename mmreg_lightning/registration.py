"""Registration of one pair in memory: any features, any solver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe, normalise_intensity
from mmreg_lightning.functional.resize import pool, pool_weight, resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.fields import resample_displacement
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.moments import moments_translation
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import field_of_view, prepare_image, working_grid
from mmreg_lightning.solvers.affine import AffineRegistration, FeatureMap
from mmreg_lightning.solvers.protocol import Progress, Solver

Affine = Literal["none", "moments", "rigid", "similarity", "affine"]
AFFINES: tuple[Affine, ...] = get_args(Affine)


class Stopwatch:
    """Wall-clock seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Seconds since this stopwatch was made."""
        return time.perf_counter() - self._start


@dataclass(frozen=True)
class Registration:
    """Result of ``register_pair``.

    Attributes:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving, with the initial
            affine in it: the world position of ``x + u(x)`` is where the moving image is sampled.
        initial: 4x4, world RAS mm of the fixed image to that of the moving image: the initial affine alone.
        working: the grid on which features were computed.
        feature_displacement: (1, 3, i, j, k) in voxels of the feature grid, without the initial affine.
        fixed_features, moving_features: (1, C, i, j, k); the moving ones under the initial affine, not warped.
        seconds: by stage.
    """

    displacement: Tensor
    initial: NDArray[np.float64]
    working: Grid
    feature_displacement: Tensor
    fixed_features: Tensor
    moving_features: Tensor
    seconds: Mapping[str, float]

    @property
    def deformation(self) -> Tensor:
        """(1, 3, *working.shape) in voxels of the working grid: the displacement without the initial affine."""
        return resize_displacement(self.feature_displacement, self.working.shape)

    @property
    def warped_features(self) -> Tensor:
        """(1, C, i, j, k): moving features at ``x + u(x)``."""
        return warp(self.moving_features, self.feature_displacement)


@dataclass(frozen=True)
class FeaturePair:
    """What a solver starts from: the features of two images on the working grid about the fixed one.

    Attributes:
        fixed_grid: of the fixed image.
        working: the working grid; the features' grid is coarser by their stride.
        initial: 4x4, world RAS mm of the fixed image to that of the moving image.
        fixed_features, moving_features: (1, C, i, j, k); the moving ones under the initial affine.
        weight: (1, 1, i, j, k) where both images are seen; None is everywhere.
        seconds: by stage.
    """

    fixed_grid: Grid
    working: Grid
    initial: NDArray[np.float64]
    fixed_features: Tensor
    moving_features: Tensor
    weight: Tensor | None
    seconds: Mapping[str, float]


def register_pair(
    fixed: Volume,
    moving: Volume,
    *,
    features: FeatureExtractor,
    solver: Solver,
    spacing: float | Sequence[float],
    fixed_modality: str,
    moving_modality: str,
    normalisation: Mapping[str, Recipe],
    mass: Mapping[str, Recipe] | None = None,
    affine: Affine = "none",
    progress: Progress | None = None,
) -> Registration:
    """Register two images that lie anywhere, with any spacing and direction.

    Both are normalised and resampled to a working grid about the fixed image, features are compared there, and
    the solver's displacement is carried to the fixed image's own grid.

    Args:
        fixed, moving, features, spacing, fixed_modality, moving_modality, normalisation, mass, affine: see
            ``extract_features``.
        solver: any solver composes with any features.
        progress: see ``Solver``.

    Raises:
        UserError: see ``extract_features``; or the image is too small for the solver's pyramid at this spacing.
    """
    pair = extract_features(
        fixed,
        moving,
        features=features,
        spacing=spacing,
        fixed_modality=fixed_modality,
        moving_modality=moving_modality,
        normalisation=normalisation,
        mass=mass,
        affine=affine,
    )
    return solve_pair(pair, solver, progress)


@torch.no_grad()
def extract_features(
    fixed: Volume,
    moving: Volume,
    *,
    features: FeatureExtractor,
    spacing: float | Sequence[float],
    fixed_modality: str,
    moving_modality: str,
    normalisation: Mapping[str, Recipe],
    mass: Mapping[str, Recipe] | None = None,
    affine: Affine = "none",
) -> FeaturePair:
    """The features of both images on a working grid about the fixed one.

    Args:
        fixed, moving: (1, I, J, K), intensities as in the file.
        features: any family.
        spacing: of the working grid, mm; one number or three.
        fixed_modality, moving_modality: names that ``features`` and ``normalisation`` know.
        normalisation: intensity recipe of each modality, for the features.
        mass: the same for centres of mass, which a window that takes air to 0 suits best; None is ``normalisation``.
        affine: what precedes the solver, see ``initial_affine``.

    Raises:
        UserError: an image has no contrast within its recipe, or the fields of view do not overlap.
    """
    watch = Stopwatch()
    modalities = fixed_modality, moving_modality
    recipes = normalisation[fixed_modality], normalisation[moving_modality]
    masses = recipes if mass is None else (mass[fixed_modality], mass[moving_modality])
    with watch.stage("affine"):
        initial = initial_affine(fixed, moving, affine, recipes, masses, features, modalities, spacing)
    with watch.stage("prepare"):
        grid = working_grid(fixed.grid, spacing)
        check_overlap(fixed, moving, initial)
        fixed_image = prepare_image(fixed, grid, recipes[0])[None]
        moving_image = prepare_image(moving, grid, recipes[1], initial)[None]
        inside = field_of_view(fixed, grid) * field_of_view(moving, grid, initial)
        weight = pool_weight(inside[None], features.stride)
    with watch.stage("features"):
        fixed_features = features(fixed_image, fixed_modality)
        moving_features = features(moving_image, moving_modality)
    return FeaturePair(fixed.grid, grid, initial, fixed_features, moving_features, weight, watch.seconds)


@torch.no_grad()
def solve_pair(pair: FeaturePair, solver: Solver, progress: Progress | None = None) -> Registration:
    """The solver's displacement, on the fixed image's own grid.

    Args:
        pair: of ``extract_features``.
        solver, progress: see ``register_pair``.

    Raises:
        UserError: the features are too small for the solver's pyramid.
    """
    watch = Stopwatch()
    with watch.stage("solver"):
        u = solver(pair.fixed_features, pair.moving_features, weight=pair.weight, progress=progress)
    with watch.stage("resample_field"):
        deformation = resample_displacement(resize_displacement(u, pair.working.shape), pair.working, pair.fixed_grid)
        displacement = then_affine(deformation, pair.fixed_grid, pair.initial)
    return Registration(
        displacement,
        pair.initial,
        pair.working,
        u,
        pair.fixed_features,
        pair.moving_features,
        {**pair.seconds, **watch.seconds},
    )


def initial_affine(
    fixed: Volume,
    moving: Volume,
    kind: Affine,
    recipes: tuple[Recipe, Recipe],
    masses: tuple[Recipe, Recipe],
    features: FeatureExtractor,
    modalities: tuple[str, str],
    spacing: float | Sequence[float],
) -> NDArray[np.float64]:
    """The alignment that precedes the solver: 4x4, world RAS mm of the fixed to that of the moving image.

    ``none`` trusts the headers, ``moments`` aligns the centres of mass. ``rigid``, ``similarity`` and ``affine`` go on
    from both of these with ``AffineRegistration`` on the features, each image's on its own working grid.

    Args:
        fixed, moving: (1, I, J, K), intensities as in the file.
        kind: see above.
        recipes, modalities: intensity recipe and name of the fixed and of the moving modality.
        masses: intensity recipes for the centres of mass.
        features, spacing: see ``register_pair``.

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
        _feature_map(volume, features, modality, recipe, spacing)
        for volume, modality, recipe in zip((fixed, moving), modalities, recipes, strict=True)
    ]
    return AffineRegistration(kind)(maps[0], maps[1], [np.eye(4), moments])


def _feature_map(
    volume: Volume, features: FeatureExtractor, modality: str, recipe: Recipe, spacing: float | Sequence[float]
) -> FeatureMap:
    """Features of an image on its own working grid."""
    grid = working_grid(volume.grid, spacing)
    image = prepare_image(volume, grid, recipe)[None]
    inside = pool(field_of_view(volume, grid)[None], features.stride)
    return FeatureMap(features(image, modality), inside, grid.pooled(features.stride))


def _moments(fixed: Volume, moving: Volume, recipes: tuple[Recipe, Recipe]) -> NDArray[np.float64]:
    normalised = (
        Volume(normalise_intensity(volume.data, recipe), volume.grid, path=volume.path)
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
