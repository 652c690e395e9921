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


def _like(points: Tensor, array: NDArray) -> Tensor:
    """An array in the number type and on the device of ``points``."""
    return torch.tensor(array, dtype=points.dtype, device=points.device)


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
        matrix = _like(points, self.matrix)
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def inverse(self) -> AffineTransform:
        return AffineTransform(np.linalg.inv(self.matrix).astype(np.float64))

    def covers(self, points: Tensor) -> Tensor:
        return torch.ones(len(points), dtype=torch.bool, device=points.device)


class Deformation(WorldTransform, Protocol):
    """A transform whose inverse is searched for, from the inverse of an affine close to it."""

    @property
    def closest_affine(self) -> AffineTransform:
        """Least-squares affine of the transform on a lattice of its domain."""
        ...


@dataclass(frozen=True, eq=False)
class FieldTransform(Deformation):
    """A displacement field phi with linear interpolation, which goes on outside with an affine A.

    Beyond the outermost voxel centres ``phi(x) = phi(b) + A (x - b)`` with the linear part of A, b being the place of
    the border that is closest to x along the axes of the grid. So phi is continuous, and a field that is a deformation
    followed by A remains one: its border's deformation, followed by A. (ITK: no displacement outside.)

    Attributes:
        displacement: (3, I, J, K) in voxels of ``grid``.
        grid: grid of the displacement.
        beyond: A; None is ``closest_affine``.
    """

    displacement: Tensor
    grid: Grid
    beyond: AffineTransform | None = None

    def __call__(self, points: Tensor) -> Tensor:
        to_voxels = _like(points, np.linalg.inv(self.grid.affine))
        to_cube = _like(points, self.grid.matrix(Frame.VOXEL, Frame.TORCH_CUBE))
        linear = _like(points, self.grid.affine[:3, :3])
        last = _like(points, np.array(self.grid.shape) - 1)
        out = torch.empty_like(points)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            some = points[start : start + _POINTS_AT_ONCE]
            voxels = some @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            border = voxels.clamp(min=torch.zeros_like(last), max=last)
            where = (border @ to_cube[:3, :3].T + to_cube[:3, 3]).to(self.displacement.dtype)
            moved = sample_at(self.displacement, where[None, None])[:, 0, 0].T
            mapped = some + moved.to(some.dtype) @ linear.T
            if not torch.equal(voxels, border):
                beyond = self.closest_affine if self.beyond is None else self.beyond
                extra = _like(points, beyond.matrix[:3, :3] - np.eye(3))
                mapped += (voxels - border) @ linear.T @ extra.T
            out[start : start + len(some)] = mapped
        return out

    def inverse(self) -> InverseFieldTransform:
        return InverseFieldTransform(self)

    def covers(self, points: Tensor) -> Tensor:
        # Points up to a voxel beyond the field of view count as covered.
        voxels = AffineTransform(self.grid.affine).inverse()(points)
        size = _like(points, np.array(self.grid.shape))
        return ((voxels >= -1.5) & (voxels <= size + 0.5)).all(dim=1)

    @cached_property
    def closest_affine(self) -> AffineTransform:
        voxels = lattice(self.grid.shape)
        moved = self.displacement[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].double().cpu().numpy().T
        source = transform_points(self.grid.affine, voxels)
        return least_squares_affine(source, transform_points(self.grid.affine, voxels + moved))


def lattice(shape: tuple[int, int, int], count: int = 16) -> NDArray[np.int64]:
    """Voxels (N, 3) of a grid, at most ``count`` along each axis, the first and the last always."""
    axes = [np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int)) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def least_squares_affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> AffineTransform:
    """The affine that takes points (N, 3) closest to others; identity where these determine none."""
    design = np.concatenate([source, np.ones((len(source), 1))], axis=1)
    matrix = np.eye(4)
    solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    if rank == 4:
        matrix[:3] = solution.T
    return AffineTransform(matrix if abs(np.linalg.det(matrix[:3, :3])) > 1e-3 else np.eye(4))


@dataclass(frozen=True, eq=False)
class InverseFieldTransform(WorldTransform):
    """The inverse of a deformation, by iteration at every point.

    The iteration is ``x <- x + s M^-1 (y - phi(x))`` from ``x = M^-1 y``, with M the affine closest to phi.
    The step s of a point is halved whenever its residual grows. Where the field folds and has no inverse, the result
    is the point of least residual.

    Attributes:
        field: phi, mostly a displacement field.
        guess: start of the iteration, such as the inverse on a coarser grid; None is ``M^-1``.
    """

    field: Deformation
    guess: WorldTransform | None = None

    def __call__(self, points: Tensor) -> Tensor:
        out = torch.empty_like(points)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            some = points[start : start + _POINTS_AT_ONCE]
            # Single precision has an error of 0.00005 mm at half a metre from the origin.
            out[start : start + len(some)] = self._search(some.float()).to(points.dtype)
        return out

    def inverse(self) -> WorldTransform:
        return self.field

    def covers(self, points: Tensor) -> Tensor:
        return self.field.covers(self(points))

    def _search(self, target: Tensor) -> Tensor:
        back = self.field.closest_affine.inverse()
        linear = _like(target, back.matrix[:3, :3])
        best = back(target) if self.guess is None else self.guess(target)
        residual = target - self.field(best)
        error = residual.norm(dim=1)
        # A spline of ITK jumps to identity outside its domain, where the affine closest to its inside leads astray.
        still = target - self.field(target)
        closer = still.norm(dim=1) < error
        best[closer], residual[closer] = target[closer], still[closer]
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
