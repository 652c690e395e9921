"""Capture range and energy landscape: the first Taylor step, and the energy along shifts of an aligned pair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.labels import one_hot
from mmreg_lightning.functional.resize import carried_displacement, level_factors, pool, pyramid, resize_displacement
from mmreg_lightning.functional.smooth import TRUNCATE, gaussian_smooth
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.inspection.families import StudiedFamily, warped_labels
from mmreg_lightning.inspection.rows import Row
from mmreg_lightning.phantom.dataset import true_displacement
from mmreg_lightning.solvers.protocol import Solver

DIRECTIONS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0))
"""Unit vectors of the rigid shifts: both ways along each axis."""
RIGID_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # feature voxels
SMOOTH_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
SMOOTH_FIELDS = 4  # of each size
_SMOOTH_SIGMA = 5.0  # feature voxels: the longest smooth fields do not fold
DISPLACEMENTS = len(RIGID_SIZES) * len(DIRECTIONS) + SMOOTH_FIELDS * len(SMOOTH_SIZES)
SHIFTS = tuple(np.arange(-5, 5.01, 0.25).tolist())  # of the landscape, feature voxels
_AXES = ("left-right", "posterior-anterior", "inferior-superior")


def shift_field(shape: Sequence[int], vector: Sequence[float]) -> Tensor:
    """A constant displacement (1, 3, I, J, K) by a vector (3,), both in voxels."""
    return torch.tensor(list(vector)).view(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


def smooth_field(shape: Sequence[int], length: float, sigma: float, generator: torch.Generator) -> Tensor:
    """A random smooth displacement (1, 3, I, J, K) in voxels.

    Args:
        shape: (I, J, K).
        length: mean of |u|, voxels.
        sigma: of the Gaussian that smooths white noise, voxels. Several times ``length`` avoids folds.
        generator: of the noise.
    """
    # The smoothing repeats the border, where the field is rough: a margin is cut off.
    margin = math.ceil(TRUNCATE * sigma)
    noise = torch.randn(1, 3, *(n + 2 * margin for n in shape), generator=generator)
    field = gaussian_smooth(noise, sigma)
    for axis, n in enumerate(shape):
        field = field.narrow(2 + axis, margin, n)
    return field * (length / field.norm(dim=1).mean())


def surface_bands(labels: Tensor, ids: Sequence[int], stride: int) -> dict[int, Tensor]:
    """Feature voxels at each organ's surface, which have organ and other tissue in their neighbourhood.

    Args:
        labels: (1, 1, I, J, K) on the working grid.
        ids: label ids of the organs.
        stride: of the feature grid.

    Returns:
        For each organ that is shown a mask (I / stride, J / stride, K / stride).
    """
    inside = (pool(one_hot(labels, ids), stride) >= 0.5).float()
    highest = F.max_pool3d(inside, 3, 1, 1)
    lowest = -F.max_pool3d(-inside, 3, 1, 1)
    bands = (highest > lowest)[0]
    return {organ: band for organ, band in zip(ids, bands, strict=True) if bool(band.any())}


def direction_cosines(update: Tensor, truth: Tensor, regions: Mapping[int, Tensor]) -> dict[int, float]:
    """Mean cosine between two displacements (1, 3, I, J, K) in each mask (I, J, K); a zero step counts as 0."""
    # float64: parallel vectors of any length give 1.
    cosine = F.cosine_similarity(update.double(), truth.double(), dim=1, eps=1e-12)[0]
    return {name: float(cosine[mask].mean()) for name, mask in regions.items()}


def level_steps(step: DescentStep, fixed: Tensor, moving: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
    """The first step from zero displacement at each level of a pyramid, on the features' own grid.

    Args:
        step: the regularised step.
        fixed, moving: (1, C, I, J, K) features.
        levels: pooling factors.

    Returns:
        By level, (1, 3, I, J, K) in voxels of the feature grid.
    """
    steps = {}
    i, j, k = fixed.shape[2:]
    factors = level_factors(fixed.shape[2:], levels)
    for level, own, (f, m) in zip(levels, factors, pyramid((fixed, moving), levels), strict=True):
        update = step.update(f, m, carried_displacement(None, f))
        full = resize_displacement(update, [n * factor for n, factor in zip(update.shape[2:], own, strict=True)])
        # Levels pad the end of an axis to a multiple of their factors.
        steps[level] = full[:, :, :i, :j, :k]
    return steps


def shift_energies(fixed: Tensor, moving: Tensor, axis: int, shifts: Sequence[float]) -> NDArray[np.float64]:
    """Mean squared residual of the features for shifts of the moving ones.

    All shifts are compared on the same fixed voxels: a margin of the longest shift is left out, so that none of them
    looks outside.

    Args:
        fixed, moving: (1, C, I, J, K) features.
        axis: 0, 1 or 2.
        shifts: (S,) in voxels.

    Returns:
        (S,) squared feature values, summed over the channels.
    """
    n = fixed.shape[2 + axis]
    margin = min(math.ceil(max(abs(s) for s in shifts)), (n - 1) // 2)
    energies = []
    for shift in shifts:
        vector = [shift if a == axis else 0.0 for a in range(3)]
        residual = fixed - warp(moving, shift_field(fixed.shape[2:], vector).to(fixed))
        inner = residual.narrow(2 + axis, margin, n - 2 * margin)
        energies.append(float(inner.double().square().sum(1).mean()))
    return np.array(energies)


def basin(shifts: Sequence[float], energies: Sequence[float]) -> tuple[float, float]:
    """The shift of the lowest energy, and the distance from it within which the energy rises strictly on both sides.

    Args:
        shifts: in rising order.
        energies: one for each shift.

    Returns:
        Both in the unit of ``shifts``; the end of the range limits the distance.
    """
    lowest = int(np.argmin(energies))
    right = lowest + _rising(energies[lowest:])
    left = lowest - _rising(energies[lowest::-1])
    return float(shifts[lowest]), float(min(shifts[right] - shifts[lowest], shifts[lowest] - shifts[left]))


def _rising(values: Sequence[float]) -> int:
    """Number of steps from the first value over which the values rise strictly."""
    steps = [b > a for a, b in pairwise(values)]
    return [*steps, False].index(False)


class Displacement(NamedTuple):
    """A known displacement: ``rigid`` or ``smooth``, its size in feature voxels, its field in working voxels."""

    kind: str
    size: float
    field: Tensor


def displacements(shape: Sequence[int], stride: int, seed: int) -> Iterator[Displacement]:
    """The ``DISPLACEMENTS`` known displacements on a working grid (I, J, K), for features of a stride."""
    for size in RIGID_SIZES:
        for direction in DIRECTIONS:
            yield Displacement("rigid", size, shift_field(shape, [size * stride * x for x in direction]))
    generator = torch.Generator().manual_seed(seed)
    for size in SMOOTH_SIZES:
        for _ in range(SMOOTH_FIELDS):
            field = smooth_field(shape, size * stride, _SMOOTH_SIGMA * stride, generator)
            yield Displacement("smooth", size, field)


@torch.no_grad()
def align(
    dataset: Learn2RegDataset, pair: Pair[ImageFiles], labels: StudiedFamily, solver: Solver
) -> tuple[Tensor, bool]:
    """Align a pair by its known displacement, or by a registration of the true labels where there is none.

    Args:
        dataset, pair: what to align.
        labels: the ``label_family``.
        solver: for pairs without a known displacement.

    Returns:
        (1, 3, I, J, K) in working voxels, fixed to moving, and whether it is the known displacement.

    Raises:
        UserError: a file cannot be used.
    """
    grid = labels.grid(pair.fixed)
    known = true_displacement(dataset, pair, grid)
    if known is not None:
        return known, True
    fixed, moving = (labels(prepared, "") for prepared in labels.cache.pair(pair))
    return resize_displacement(solver(fixed, moving), grid.shape), False


class DescentMeasures:
    """Capture range and energy landscape of all families on a pair that is aligned by a known displacement.

    Args:
        pair: its files.
        truth: (1, 3, I, J, K) in working voxels, fixed to moving; it aligns the pair.
        families: all with the same working grid and stride.
        names: organ of each label id.

    Raises:
        UserError: a file cannot be used.
    """

    @torch.no_grad()
    def __init__(
        self, pair: Pair[ImageFiles], truth: Tensor, families: Sequence[StudiedFamily], names: Mapping[int, str]
    ) -> None:
        self.modality = pair.fixed.modality
        self.case = pair.name
        self.names = names
        self.stride = families[0].features.stride
        self.spacing = families[0].grid(pair.fixed).spacing
        images = [(family, *family.cache.pair(pair)) for family in families]
        self.fixed = [(family, fixed) for family, fixed, _ in images]
        self.moving = {family.name: family(moving, pair.moving.modality, truth) for family, _, moving in images}

    @torch.no_grad()
    def capture_rows(self, displacement: Displacement, levels: Sequence[int]) -> list[Row]:
        """Cosines between the first step and a displacement: one row for each family, level and organ.

        The original fixed image is displaced: ``fixed'(x) = fixed(x + v(x))`` corresponds to ``x + v(x)`` in the
        aligned moving image, so v is the true direction everywhere. Features are computed from the displaced image.

        Args:
            displacement: v.
            levels: pooling factors of the pyramid.
        """
        kind, size, field = displacement
        bands = surface_bands(warped_labels(self.fixed[0][1], field), list(self.names), self.stride)
        mm = size * self.stride * float(np.mean(self.spacing))
        rows: list[Row] = []
        for family, image in self.fixed:
            features, moving = family(image, self.modality, field), self.moving[family.name]
            truth = resize_displacement(field, features.shape[2:])
            for level, step in level_steps(family.step, features, moving, levels).items():
                common = {"family": family.name, "case": self.case, "kind": kind, "mm": mm, "level": level}
                cosines = direction_cosines(step, truth, bands)
                rows += [{**common, "organ": self.names[i], "cosine": value} for i, value in cosines.items()]
        return rows

    @torch.no_grad()
    def landscape_rows(self) -> list[Row]:
        """Energies along rigid shifts: one row for each family, axis and shift.

        Energies are relative to their mean over the shifts, so that families with different units are comparable.
        """
        rows: list[Row] = []
        for family, image in self.fixed:
            features = family(image, self.modality)
            for axis, called in enumerate(_AXES):
                energies = shift_energies(features, self.moving[family.name], axis, SHIFTS)
                relative = (energies / energies.mean()).tolist()
                mm = [shift * self.stride * float(self.spacing[axis]) for shift in SHIFTS]
                # Interpolation between feature voxels lowers the energy: the basin is that of whole voxels.
                whole = [n for n, shift in enumerate(SHIFTS) if shift == round(shift)]
                lowest, width = basin([mm[n] for n in whole], [relative[n] for n in whole])
                common = {"family": family.name, "case": self.case, "axis": called}
                found = {**common, "lowest_mm": lowest, "basin_mm": width}
                rows += [{**found, "mm": m, "energy": e} for m, e in zip(mm, relative, strict=True)]
        return rows
