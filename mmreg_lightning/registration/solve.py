"""Registration of one pair in memory: features on a working grid, then any solver."""

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
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import pool_weight, resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.fields import resample_displacement
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.working import default_spacing, field_of_view, thin_axes, working_grid
from mmreg_lightning.registration.initial_affine import check_features, check_overlap, initial_affine, network_input
from mmreg_lightning.registration.limits import check_memory, check_thickness, check_working_size
from mmreg_lightning.registration.masks import with_body_masks
from mmreg_lightning.registration.settings import Settings
from mmreg_lightning.solvers.protocol import Progress, Solver, short_axes_note


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


@dataclass(frozen=True, eq=False)
class Registration:
    """Result of ``solve``: tensors in memory.

    Attributes:
        displacement: (1, 3, I, J, K) in voxels of the fixed image's RAS+ grid, fixed to moving, with the initial
            affine in it: the world position of ``x + u(x)`` is where the moving image is sampled.
        initial: 4x4, world RAS mm of the fixed image to that of the moving image: the initial affine alone.
        working: the grid on which features were computed.
        feature_displacement: (1, 3, i, j, k) in voxels of the feature grid, without the initial affine.
        fixed_features, moving_features: (1, C, i, j, k); the moving ones under the initial affine, not warped.
        seconds: by stage.
        notes: what was decided on the way that nobody asked for, one sentence each.
        weight, moving_weight: see ``FeatureMaps``.
        masks: (1, I, J, K) bool on the grid of each image, those that were given and those of the body; None where the
            whole image was looked at.
    """

    displacement: Tensor
    initial: NDArray[np.float64]
    working: Grid
    feature_displacement: Tensor
    fixed_features: Tensor
    moving_features: Tensor
    seconds: Mapping[str, float]
    notes: Sequence[str] = ()
    weight: Tensor | None = None
    moving_weight: Tensor | None = None
    masks: Pair[Tensor | None] = Pair(None, None)

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


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What a solver starts from: the features of two images on the working grid about the fixed one.

    Attributes:
        fixed_grid: of the fixed image.
        working: the working grid; the features' grid is coarser by their stride.
        initial: 4x4, world RAS mm of the fixed image to that of the moving image.
        fixed, moving: (1, C, i, j, k); the moving ones under the initial affine.
        weight: (1, 1, i, j, k) where both images are seen and the fixed mask is set; None is everywhere.
        moving_weight: (1, 1, i, j, k) where the moving mask is set, under the initial affine; None is everywhere.
        seconds: by stage.
        notes, masks: see ``Registration``.
    """

    fixed_grid: Grid
    working: Grid
    initial: NDArray[np.float64]
    fixed: Tensor
    moving: Tensor
    weight: Tensor | None
    moving_weight: Tensor | None
    seconds: Mapping[str, float]
    notes: Sequence[str] = ()
    masks: Pair[Tensor | None] = Pair(None, None)


@torch.no_grad()
def extract(pair: Pair[Image], settings: Settings) -> FeatureMaps:
    """The features of both images on a working grid about the fixed one.

    Both images may lie anywhere, with any spacing and direction. They are normalised and resampled to the working
    grid, the moving one under the initial affine.

    Args:
        pair: images, intensities as in the file.
        settings: features, recipes, spacing and initial affine.

    Raises:
        UserError: an image has fewer than four voxels along an axis or no contrast within its recipe, the working grid
            or the fields need too much memory, the fields of view do not overlap, no place is within both masks, or
            features are not finite.
    """
    watch = Stopwatch()
    notes: list[str] = []
    fixed, moving = pair.fixed.volume, pair.moving.volume
    check_thickness(fixed, "fixed")
    check_thickness(moving, "moving")
    features, family = settings.features, settings.family
    spacing = settings.spacing or default_spacing(fixed.grid)
    grid = working_grid(fixed.grid, spacing)
    check_working_size(grid, spacing)
    check_memory(pair, grid, features.channels, features.stride)
    if settings.body_mask:
        with watch.stage("body_mask"):
            modalities = Pair(settings.fixed_modality, settings.moving_modality)
            pair, notes = with_body_masks(pair, modalities)
    with watch.stage("affine"):
        initial, decided = initial_affine(pair, settings, spacing)
        notes += decided
    for role, image, modality in zip(
        ("fixed", "moving"), pair, (settings.fixed_modality, settings.moving_modality), strict=True
    ):
        notes += family.assumed(str(image.volume.path or f"the {role} image"), modality)
    with watch.stage("prepare"):
        check_overlap(fixed, moving, initial)
        fixed_input = network_input(pair.fixed, grid, family.recipe(settings.fixed_modality), features)
        moving_input = network_input(pair.moving, grid, family.recipe(settings.moving_modality), features, initial)
        inside = field_of_view(fixed, grid) * field_of_view(moving, grid, initial)
        if pair.fixed.mask is not None:
            inside = inside * resample_volume(pair.fixed.mask, grid, fill=0.0).data
        weight = pool_weight(inside[None], features.stride)
        moving_weight = None
        if pair.moving.mask is not None:
            mask = resample_volume(pair.moving.mask, grid, transform=initial, fill=0.0).data
            moving_weight = pool_weight(mask[None], features.stride)
            inside = inside * mask
        if not inside.any():
            masks = [image.mask for image in pair if image.mask is not None]
            named = [str(mask.path or "a mask") for mask in masks] or ["the images"]
            raise UserError(f"{' and '.join(named)}: nothing of them lies where both images are seen")
    with watch.stage("features"):
        maps = (
            features(fixed_input.to(settings.device), settings.fixed_modality),
            features(moving_input.to(settings.device), settings.moving_modality),
        )
    for role, found in zip(("fixed", "moving"), maps, strict=True):
        check_features(found, role, settings)
    weight, moving_weight = (None if w is None else w.to(settings.device) for w in (weight, moving_weight))
    notes += _thin_notes(pair, grid)
    used = pair.map(lambda image: None if image.mask is None else image.mask.data > 0)
    return FeatureMaps(fixed.grid, grid, initial, *maps, weight, moving_weight, watch.seconds, notes, used)


@torch.no_grad()
def solve(maps: FeatureMaps, solver: Solver, progress: Progress | None = None) -> Registration:
    """The solver's displacement, on the fixed image's own grid.

    Args:
        maps: of ``extract``.
        solver: any solver composes with any features.
        progress: called with (iterations done, iterations in all).

    Raises:
        UserError: the displacement is not finite.
    """
    watch = Stopwatch()
    with watch.stage("solver"):
        u = solver(
            maps.fixed, maps.moving, weight=maps.weight, progress=progress, moving_weight=maps.moving_weight
        ).cpu()
    _check_converged(u, solver)
    with watch.stage("resample_field"):
        deformation = resample_displacement(resize_displacement(u, maps.working.shape), maps.working, maps.fixed_grid)
        displacement = then_affine(deformation, maps.fixed_grid, maps.initial)
    short = short_axes_note(solver, maps.fixed.shape[2:])
    return Registration(
        displacement,
        maps.initial,
        maps.working,
        u,
        maps.fixed.cpu(),
        maps.moving.cpu(),
        {**maps.seconds, **watch.seconds},
        (*maps.notes, *([] if short is None else [short])),
        None if maps.weight is None else maps.weight.cpu(),
        None if maps.moving_weight is None else maps.moving_weight.cpu(),
        maps.masks,
    )


def solution_cues(found: Registration, maps: FeatureMaps, solver: Solver) -> Cues:
    """Label-free error cues of a registration; the way back is solved for, which takes as long as the way there.

    Args:
        found: result of ``solve``.
        maps: that it was solved for.
        solver: the same one.

    Raises:
        UserError: the displacement of the way back is not finite.
    """
    backward = solver(maps.moving, maps.fixed, weight=maps.moving_weight, moving_weight=maps.weight).cpu()
    _check_converged(backward, solver)
    return registration_cues(found.fixed_features, found.moving_features, found.feature_displacement, backward)


def _thin_notes(pair: Pair[Image], working: Grid) -> list[str]:
    """What ``prepare_image`` does about thin images, a sentence for each."""
    notes = []
    for role, image in zip(("fixed", "moving"), pair, strict=True):
        axes = thin_axes(image.volume.grid, working)
        if axes:
            along = ", ".join("IJK"[axis] for axis in axes)
            name = image.volume.path or f"The {role} image"
            notes.append(f"{name} is thin along {along} (RAS+ axes), its border is repeated there to compute features.")
    return notes


def _check_converged(displacement: Tensor, solver: Solver) -> None:
    if not torch.isfinite(displacement).all():
        raise UserError(
            f"solver {type(solver).__name__}: the displacement is not finite, the solver diverged with these settings"
        )
