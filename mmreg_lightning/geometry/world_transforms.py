"""Transforms of points in the world: affines, displacement fields, their inverses and chains of them.

All map world RAS mm of the fixed image to world RAS mm of the moving image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.geometry.frames import Frame, transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_at, slabs

INVERSE_TOLERANCE_MM = 0.01
_MAX_ITERATIONS = 60
_POINTS_AT_ONCE = 2**17  # 3 MB of coordinates: an inverse needs a dozen such arrays
_COARSE = 3  # pooling factor of the grid on which the search for an inverse begins


class WorldTransform(Protocol):
    """A map of points with an inverse."""

    def __call__(self, points: Tensor) -> Tensor:
        """Points (N, 3), world RAS mm, mapped to world RAS mm."""
        ...

    def inverse(self) -> WorldTransform:
        """The inverse transform."""
        ...

    def covers(self, points: Tensor) -> Tensor:
        """(N,) bool: False where a field is only continued beyond its border."""
        ...


@dataclass(frozen=True, eq=False)
class AffineTransform(WorldTransform):
    """``matrix`` 4x4, world RAS mm to world RAS mm."""

    matrix: NDArray[np.float64]

    def __call__(self, points: Tensor) -> Tensor:
        matrix = torch.tensor(self.matrix, dtype=points.dtype, device=points.device)
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def inverse(self) -> AffineTransform:
        return AffineTransform(np.linalg.inv(self.matrix).astype(np.float64))

    def covers(self, points: Tensor) -> Tensor:
        return torch.ones(len(points), dtype=torch.bool, device=points.device)


@dataclass(frozen=True, eq=False)
class FieldTransform(WorldTransform):
    """A displacement field with linear interpolation, whose border is repeated outside (ITK: zero outside).

    Attributes:
        displacement: (3, I, J, K) in voxels of ``grid``.
        grid: grid of the displacement.
    """

    displacement: Tensor
    grid: Grid

    def __call__(self, points: Tensor) -> Tensor:
        to_cube = torch.tensor(
            self.grid.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE), dtype=points.dtype, device=points.device
        )
        linear = torch.tensor(self.grid.affine[:3, :3], dtype=points.dtype, device=points.device)
        out = torch.empty_like(points)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            some = points[start : start + _POINTS_AT_ONCE]
            where = (some @ to_cube[:3, :3].T + to_cube[:3, 3]).to(self.displacement.dtype)
            moved = sample_at(self.displacement, where[None, None])[:, 0, 0].T
            out[start : start + len(some)] = some + moved.to(some.dtype) @ linear.T
        return out

    def inverse(self) -> InverseFieldTransform:
        return InverseFieldTransform(self)

    def covers(self, points: Tensor) -> Tensor:
        # Points up to a voxel beyond the field of view count as covered.
        voxels = AffineTransform(self.grid.affine).inverse()(points)
        size = torch.tensor(self.grid.shape, dtype=points.dtype, device=points.device)
        return ((voxels >= -1.5) & (voxels <= size + 0.5)).all(dim=1)

    @cached_property
    def closest_affine(self) -> AffineTransform:
        """Least-squares affine of the field on a lattice of its voxels."""
        axes = [np.unique(np.linspace(0, n - 1, min(n, 16)).round().astype(int)) for n in self.grid.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        source = torch.from_numpy(transform_points(self.grid.affine, index))
        target = self(source.to(self.displacement.device)).cpu().numpy()
        design = np.concatenate([source.numpy(), np.ones((len(source), 1))], axis=1)
        matrix = np.eye(4)
        matrix[:3] = np.linalg.lstsq(design, target, rcond=None)[0].T
        return AffineTransform(matrix if abs(np.linalg.det(matrix[:3, :3])) > 1e-3 else np.eye(4))


@dataclass(frozen=True, eq=False)
class InverseFieldTransform(WorldTransform):
    """The inverse of a displacement field, by iteration at every point.

    The iteration is ``x <- x + s M^-1 (y - phi(x))`` from ``x = M^-1 y``, with M the affine closest to the field phi.
    The step s of a point is halved whenever its residual grows. Where the field folds and has no inverse, the result
    is the point of least residual.

    Attributes:
        field: phi.
        guess: start of the iteration, such as the inverse on a coarser grid; None is ``M^-1``.
    """

    field: FieldTransform
    guess: WorldTransform | None = None

    def __call__(self, points: Tensor) -> Tensor:
        out = torch.empty_like(points)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            some = points[start : start + _POINTS_AT_ONCE]
            # Single precision has an error of 0.00005 mm at half a metre from the origin.
            out[start : start + len(some)] = self._search(some.float()).to(points.dtype)
        return out

    def inverse(self) -> FieldTransform:
        return self.field

    def covers(self, points: Tensor) -> Tensor:
        return self.field.covers(self(points))

    def _search(self, target: Tensor) -> Tensor:
        back = self.field.closest_affine.inverse()
        linear = torch.tensor(back.matrix[:3, :3], dtype=target.dtype, device=target.device)
        best = back(target) if self.guess is None else self.guess(target)
        residual = target - self.field(best)
        error = residual.norm(dim=1)
        active = (error > INVERSE_TOLERANCE_MM).nonzero()[:, 0]
        step = torch.ones(len(target), 1, dtype=target.dtype, device=target.device)
        for _ in range(_MAX_ITERATIONS):
            if not len(active):
                break
            trial = best[active] + step[active] * (residual[active] @ linear.T)
            trial_residual = target[active] - self.field(trial)
            trial_error = trial_residual.norm(dim=1)
            better = trial_error < error[active]
            accepted = active[better]
            best[accepted] = trial[better]
            residual[accepted] = trial_residual[better]
            error[accepted] = trial_error[better]
            step[active[~better]] *= 0.5
            active = active[(error[active] > INVERSE_TOLERANCE_MM) & (step[active, 0] > 1e-3)]
        return best


@dataclass(frozen=True, eq=False)
class ChainTransform(WorldTransform):
    """Several transforms, applied in order."""

    links: Sequence[WorldTransform]

    def __call__(self, points: Tensor) -> Tensor:
        for link in self.links:
            points = link(points)
        return points

    def inverse(self) -> ChainTransform:
        return ChainTransform([link.inverse() for link in reversed(self.links)])

    def covers(self, points: Tensor) -> Tensor:
        covered = torch.ones(len(points), dtype=torch.bool, device=points.device)
        for link in self.links:
            covered &= link.covers(points)
            points = link(points)
        return covered


def transform_displacement(transform: WorldTransform, grid: Grid) -> Tensor:
    """The displacement of every voxel of ``grid`` by a transform, (1, 3, I, J, K) float32 in voxels of ``grid``."""
    back = AffineTransform(grid.affine).inverse()
    there = AffineTransform(grid.affine)
    out = torch.empty(1, 3, *grid.shape)
    if isinstance(transform, InverseFieldTransform) and min(grid.shape) >= 2 * _COARSE * _COARSE:
        # Most iterations are spent on one voxel in 27; all others start close to their solution.
        coarse = grid.pooled(_COARSE)
        guess = FieldTransform(transform_displacement(transform, coarse)[0], coarse)
        transform = InverseFieldTransform(transform.field, guess)
    for slab in slabs(grid.shape, _POINTS_AT_ONCE):
        voxels = identity_grid((slab.stop - slab.start, *grid.shape[1:]), dtype=torch.float64)[0]
        voxels[0] += slab.start
        points = voxels.flatten(1).T
        moved = back(transform(there(points))) - points
        out[0, :, slab] = moved.T.reshape(voxels.shape).float()
    return out


def map_points(transform: WorldTransform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 3), world RAS mm, mapped by a transform."""
    return transform(torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))).numpy()
