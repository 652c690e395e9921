"""Sampling grids: size, spacing, direction and position of a volume in the world."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS, Frame, transform_points

_OVERLAP_SAMPLES = 24  # sampling points of overlap_fraction along each axis
_SHAPE_TOLERANCE = 1e-3  # voxels: rounding of float32 headers must not add a slice


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape (I, J, K) and ``affine`` 4x4, which maps voxel indices to world RAS mm.

    Raises:
        ValueError: the shape is not three positive numbers, or the affine is not an invertible 4x4 matrix.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a grid needs three positive sizes, not {tuple(self.shape)}")
        if not is_invertible(affine):
            raise ValueError(f"not an invertible 4x4 affine: {affine.tolist()}")
        affine.flags.writeable = False
        i, j, k = (int(n) for n in self.shape)
        object.__setattr__(self, "shape", (i, j, k))
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(3,) distance of neighbouring voxel centres along I, J, K, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors of the axes I, J, K in world RAS, as columns."""
        return self.affine[:3, :3] / self.spacing

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,) centre of the field of view, world RAS mm."""
        return transform_points(self.affine, (np.array(self.shape) - 1) / 2)

    def matrix(self, source: Frame, target: Frame) -> NDArray[np.float64]:
        """4x4 matrix that maps points of frame ``source`` to frame ``target``, both of this grid."""
        return np.linalg.inv(self._to_world(target)) @ self._to_world(source)

    def voxel_to(self, other: Grid) -> NDArray[np.float64]:
        """4x4 matrix from voxels of this grid to voxels of ``other`` at the same place in the world."""
        return np.linalg.inv(other.affine) @ self.affine

    def resampled(self, spacing: float | Sequence[float]) -> Grid:
        """Grid with this ``spacing`` (mm; one number or three), the same centre and direction.

        Its size is extent / spacing rounded up, so it covers the whole field of view.

        Raises:
            UserError: a spacing is not positive.
        """
        new_spacing = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
        if not (new_spacing > 0).all():
            raise UserError(f"spacing={spacing}: must be positive")
        extent = np.array(self.shape) * self.spacing
        size = np.maximum(np.ceil(extent / new_spacing - _SHAPE_TOLERANCE), 1)
        affine = np.eye(4)
        affine[:3, :3] = self.direction * new_spacing
        affine[:3, 3] = self.center - affine[:3, :3] @ ((size - 1) / 2)
        return Grid((int(size[0]), int(size[1]), int(size[2])), affine)

    def pooled(self, factor: int | Sequence[int]) -> Grid:
        """Grid of ``functional.resize.pool``: averages over blocks of ``factor`` voxels a side, one number or three."""
        sides = np.broadcast_to(np.asarray(factor), (3,))
        block = np.eye(4)
        block[:3, :3] *= sides
        block[:3, 3] = (sides - 1) / 2
        i, j, k = (-(-n // int(side)) for n, side in zip(self.shape, sides, strict=True))
        return Grid((i, j, k), self.affine @ block)

    def same_as(self, other: Grid, tol: float = 0.1) -> bool:
        """Whether shapes are equal and the corner voxels lie within ``tol`` voxels of those of ``other``."""
        if self.shape != other.shape:
            return False
        corners = np.array(list(itertools.product(*((0, n - 1) for n in self.shape))), dtype=np.float64)
        # Unit steps are needed for the spacing along an axis of one voxel.
        probes = np.concatenate([corners, np.eye(3)])
        return bool(np.abs(transform_points(self.voxel_to(other), probes) - probes).max() <= tol)

    def overlap_fraction(self, other: Grid) -> float:
        """Share of this grid's field of view that lies within that of ``other``, in [0, 1], to a few percent."""
        steps = (np.arange(_OVERLAP_SAMPLES) + 0.5) / _OVERLAP_SAMPLES
        axes = np.meshgrid(*(steps * n - 0.5 for n in self.shape), indexing="ij")
        inside = transform_points(self.voxel_to(other), np.stack(axes, axis=-1)) + 0.5
        return float(((inside >= 0) & (inside <= np.array(other.shape))).all(axis=-1).mean())

    def _to_world(self, frame: Frame) -> NDArray[np.float64]:
        known = {Frame.WORLD_RAS: np.eye(4), Frame.WORLD_LPS: RAS_TO_LPS, Frame.VOXEL: self.affine}
        if frame in known:
            return known[frame]
        cube_to_voxel = np.zeros((4, 4))
        for axis, n in enumerate(self.shape):
            cube_to_voxel[axis, 2 - axis] = n / 2
            cube_to_voxel[axis, 3] = (n - 1) / 2
        cube_to_voxel[3, 3] = 1
        return self.affine @ cube_to_voxel


def is_invertible(affine: NDArray[np.float64]) -> bool:
    """Whether ``affine`` is a finite 4x4 matrix with three independent axes of nonzero length."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(lengths.min() >= 1e-6 and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)
