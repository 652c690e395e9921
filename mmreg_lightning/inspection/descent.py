"""Capture range and energy landscape over the pairs of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.functional.resize import resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.working import working_grid
from mmreg_lightning.inspection.capture import (
    DIRECTIONS,
    direction_cosines,
    level_steps,
    shift_field,
    smooth_field,
    surface_bands,
)
from mmreg_lightning.inspection.families import StudiedFamily, label_features
from mmreg_lightning.inspection.landscape import basin, shift_energies
from mmreg_lightning.io.images import read_image
from mmreg_lightning.phantom.dataset import true_displacement
from mmreg_lightning.solvers.protocol import Solver

Row = dict[str, Any]
RIGID_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # feature voxels
SMOOTH_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
SMOOTH_FIELDS = 4  # of each size
_SMOOTH_SIGMA = 5.0  # feature voxels: the longest smooth fields do not fold
SHIFTS = tuple(np.arange(-5, 5.01, 0.25).tolist())  # of the landscape, feature voxels
_AXES = ("left-right", "posterior-anterior", "inferior-superior")


@dataclass(frozen=True)
class Aligned:
    """A pair whose moving image lies on the fixed one.

    Attributes:
        pair: the record.
        truth: (1, 3, I, J, K) working voxels, what has aligned it.
        exact: whether it is the known displacement of a phantom, or a registration of the true labels.
        labels: (1, 1, I, J, K) of the fixed image.
        moving_labels: (1, 1, I, J, K), aligned.
        spacing: (3,) of the working grid, mm.
    """

    pair: Pair[ImageFiles]
    truth: Tensor
    exact: bool
    labels: Tensor
    moving_labels: Tensor
    spacing: Sequence[float]


@torch.no_grad()
def align(
    dataset: Learn2RegDataset, pair: Pair[ImageFiles], family: StudiedFamily, solver: Solver, ids: Sequence[int]
) -> Aligned:
    """Align a pair by its known displacement, or else by the solver on the true labels.

    Args:
        dataset, pair: what to align.
        family: whose images and stride are used.
        solver: for pairs without a known displacement.
        ids: organs.
    """
    fixed, moving = family.cache.pair(pair)
    grid = working_grid(read_image(pair.fixed.image).grid, family.cache.spacing)
    labels = [prepared.labels[None].long() for prepared in (fixed, moving)]
    truth = true_displacement(dataset, pair, grid)
    exact = truth is not None
    if truth is None:
        stride = family.features.stride
        f, m = (label_features(x, ids, stride) for x in labels)
        truth = resize_displacement(solver(f, m), grid.shape)
    moved = warp(labels[1].float(), truth, mode="nearest").long()
    return Aligned(pair, truth, exact, labels[0], moved, grid.spacing.tolist())


@torch.no_grad()
def descent_rows(
    aligned: Aligned,
    families: Sequence[StudiedFamily],
    levels: Sequence[int],
    names: dict[int, str],
    seed: int,
    done: Callable[[], None],
) -> tuple[list[Row], list[Row]]:
    """Cosines of the first step along displacements, and energies along rigid shifts.

    The fixed image, as it comes from the scanner, is displaced: ``fixed'(x) = fixed(x + v(x))`` lies at ``x + v(x)`` in
    the aligned moving image, so v is the true direction everywhere. Features are computed of the displaced image.

    Args:
        aligned: the pair.
        families: the true labels are added as a last one, the best that the step can do.
        levels: of the pyramid.
        names: organ of each label id.
        seed: of the smooth displacements.
        done: called after each displacement.

    Returns:
        Rows of the capture range (a displacement, family, level and organ each) and of the landscape.
    """
    pair, ids = aligned.pair, list(names)
    stride = families[0].features.stride
    prepared = {f.name: f.cache.pair(pair) for f in families}
    moving = {
        f.name: f.features(warp(prepared[f.name].moving.image[None], aligned.truth), pair.moving.modality)
        for f in families
    }
    moving["labels"] = label_features(aligned.moving_labels, ids, stride)
    still = {f.name: f.features(prepared[f.name].fixed.image[None], pair.fixed.modality) for f in families}
    still["labels"] = label_features(aligned.labels, ids, stride)
    landscape = _landscape_rows(pair.name, still, moving, aligned.spacing, stride)
    rows: list[Row] = []
    for kind, size, field in _displacements(aligned.labels.shape[2:], stride, seed):
        labels = warp(aligned.labels.float(), field, mode="nearest").long()
        shape = moving["labels"].shape[2:]
        truth = resize_displacement(field, shape)
        bands = surface_bands(labels, ids, stride)
        mm = size * stride * float(np.mean(aligned.spacing))
        displaced = {
            f.name: f.features(warp(prepared[f.name].fixed.image[None], field), pair.fixed.modality) for f in families
        }
        displaced["labels"] = label_features(labels, ids, stride)
        step_of = {f.name: f.step for f in families} | {"labels": families[0].step}
        for name, features in displaced.items():
            for level, step in level_steps(step_of[name], features, moving[name], levels).items():
                found = direction_cosines(step, truth, bands)
                common = {"family": name, "case": pair.name, "kind": kind, "mm": mm, "level": level}
                rows += [{**common, "organ": names[i], "cosine": value} for i, value in found.items()]
        done()
    return rows, landscape


def displacement_count() -> int:
    """How often ``descent_rows`` calls ``done``."""
    return len(RIGID_SIZES) * len(DIRECTIONS) + SMOOTH_FIELDS * len(SMOOTH_SIZES)


def _displacements(shape: Sequence[int], stride: int, seed: int) -> list[tuple[str, float, Tensor]]:
    """Kind, size in feature voxels, and field in working voxels."""
    fields = [
        ("rigid", size, shift_field(shape, [size * stride * x for x in direction]))
        for size in RIGID_SIZES
        for direction in DIRECTIONS
    ]
    generator = torch.Generator().manual_seed(seed)
    for size in SMOOTH_SIZES:
        for _ in range(SMOOTH_FIELDS):
            fields.append(("smooth", size, smooth_field(shape, size * stride, _SMOOTH_SIGMA * stride, generator)))
    return fields


def _landscape_rows(
    case: str, fixed: dict[str, Tensor], moving: dict[str, Tensor], spacing: Sequence[float], stride: int
) -> list[Row]:
    """Energies divided by their mean over the shifts, so that families of other units compare."""
    rows: list[Row] = []
    for name in fixed:
        for axis, called in enumerate(_AXES):
            energies = shift_energies(fixed[name], moving[name], axis, SHIFTS)
            relative = energies / energies.mean()
            mm = [shift * stride * spacing[axis] for shift in SHIFTS]
            # Interpolation between feature voxels smooths and so lowers the energy: the basin is that of whole voxels.
            whole = [n for n, shift in enumerate(SHIFTS) if shift == round(shift)]
            lowest, width = basin([mm[n] for n in whole], [float(relative[n]) for n in whole])
            common = {"family": name, "case": case, "axis": called, "lowest_mm": lowest, "basin_mm": width}
            rows += [{**common, "mm": m, "energy": e} for m, e in zip(mm, relative.tolist(), strict=True)]
    return rows
