"""Registration of one pair in memory: any features, any solver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.confidence.cues import Cues, registration_cues
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe
from mmreg_lightning.functional.resize import pool_weight, resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.fields import resample_displacement
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.working import field_of_view, prepare_image, working_grid
from mmreg_lightning.registration.initial_affine import Affine, Masks, check_overlap, initial_affine
from mmreg_lightning.solvers.protocol import Progress, Solver


class Stopwatch:
    """Wall-clock seconds of named stages.

    Args:
        seconds: of stages that ended before; the time between then and now does not count.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})
        self._start = time.perf_counter() - sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Seconds since this stopwatch was made, and those of the stages before."""
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
    def feature_grid(self) -> Grid:
        """The grid of the features."""
        return self.working.pooled(self.working.shape[0] // self.fixed_features.shape[2])

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
        weight: (1, 1, i, j, k) where both images are seen and the fixed mask is set; None is everywhere.
        moving_weight: (1, 1, i, j, k) where the moving mask is set, under the initial affine; None is everywhere.
        seconds: by stage.
    """

    fixed_grid: Grid
    working: Grid
    initial: NDArray[np.float64]
    fixed_features: Tensor
    moving_features: Tensor
    weight: Tensor | None
    moving_weight: Tensor | None
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
    affine: Affine | NDArray[np.float64] = "none",
    masks: Masks = (None, None),
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Registration:
    """Register two images that lie anywhere, with any spacing and direction.

    Both are normalised and resampled to a working grid about the fixed image, features are compared there, and
    the solver's displacement is carried to the fixed image's own grid.

    Args:
        fixed, moving, features, spacing, fixed_modality, moving_modality, normalisation, mass, affine, masks,
            device: see ``extract_features``.
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
        masks=masks,
        device=device,
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
    affine: Affine | NDArray[np.float64] = "none",
    masks: Masks = (None, None),
    device: torch.device | str = "cpu",
) -> FeaturePair:
    """The features of both images on a working grid about the fixed one.

    Args:
        fixed, moving: (1, I, J, K), intensities as in the file.
        features: any family.
        spacing: of the working grid, mm; one number or three.
        fixed_modality, moving_modality: names that ``features`` and ``normalisation`` know.
        normalisation: intensity recipe of each modality, for the features.
        mass: the same for centres of mass, which a window that takes air to 0 suits best; None is ``normalisation``.
        affine: what precedes the solver, see ``initial_affine``; or the 4x4 itself, world RAS mm of the fixed to that
            of the moving image.
        masks: of the fixed and of the moving image, (1, I, J, K) with 0 where it is not to be trusted; None is
            everywhere.
        device: where the features are computed and stay; they must be there already.

    Raises:
        UserError: an image has no contrast within its recipe, the fields of view do not overlap, or no place is within
            both masks.
    """
    watch = Stopwatch()
    modalities = fixed_modality, moving_modality
    recipes = normalisation[fixed_modality], normalisation[moving_modality]
    masses = recipes if mass is None else (mass[fixed_modality], mass[moving_modality])
    with watch.stage("affine"):
        if isinstance(affine, np.ndarray):
            initial = affine
        else:
            initial = initial_affine(
                fixed, moving, affine, recipes, masses, features, modalities, spacing, masks, device
            )
    with watch.stage("prepare"):
        grid = working_grid(fixed.grid, spacing)
        check_overlap(fixed, moving, initial)
        fixed_image = prepare_image(fixed, grid, recipes[0])[None]
        moving_image = prepare_image(moving, grid, recipes[1], initial)[None]
        inside = field_of_view(fixed, grid) * field_of_view(moving, grid, initial)
        if masks[0] is not None:
            inside = inside * resample_volume(masks[0], grid, fill=0.0).data
        weight = pool_weight(inside[None], features.stride)
        moving_weight = None
        if masks[1] is not None:
            mask = resample_volume(masks[1], grid, transform=initial, fill=0.0).data
            moving_weight = pool_weight(mask[None], features.stride)
            inside = inside * mask
        if not inside.any():
            named = [str(mask.path or "a mask") for mask in masks if mask is not None] or ["the images"]
            raise UserError(f"{' and '.join(named)}: nothing of them lies where both images are seen")
    with watch.stage("features"):
        fixed_features = features(fixed_image.to(device), fixed_modality)
        moving_features = features(moving_image.to(device), moving_modality)
    weight, moving_weight = (None if w is None else w.to(device) for w in (weight, moving_weight))
    return FeaturePair(fixed.grid, grid, initial, fixed_features, moving_features, weight, moving_weight, watch.seconds)


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
        u = solver(
            pair.fixed_features,
            pair.moving_features,
            weight=pair.weight,
            progress=progress,
            moving_weight=pair.moving_weight,
        ).cpu()
    with watch.stage("resample_field"):
        deformation = resample_displacement(resize_displacement(u, pair.working.shape), pair.working, pair.fixed_grid)
        displacement = then_affine(deformation, pair.fixed_grid, pair.initial)
    return Registration(
        displacement,
        pair.initial,
        pair.working,
        u,
        pair.fixed_features.cpu(),
        pair.moving_features.cpu(),
        {**pair.seconds, **watch.seconds},
    )


def cues_of(found: Registration, pair: FeaturePair, solver: Solver) -> Cues:
    """Cues of a registration; the way back is solved for, which takes as long as the way there.

    Args:
        found: result of ``solve_pair``.
        pair: that it was solved for.
        solver: the same one.
    """
    backward = solver(
        pair.moving_features, pair.fixed_features, weight=pair.moving_weight, moving_weight=pair.weight
    ).cpu()
    return registration_cues(found.fixed_features, found.moving_features, found.feature_displacement, backward)
