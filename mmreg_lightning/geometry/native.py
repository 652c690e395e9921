"""The axis order and flips of an image file, and the conversion to the canonical RAS+ array."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid


@dataclass(frozen=True, eq=False)
class NativeGrid:
    """The grid of an image file with its own axis order and flips.

    The canonical array is a permutation and flip of the file's array, without interpolation. Its axes are those
    closest to R, A, S; an oblique rotation stays in its affine.

    Attributes:
        shape: (X, Y, Z) of the file.
        affine: 4x4, voxel of the file to world RAS mm.
        notes: what was assumed when the file was read, one sentence each that names the file.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, grid: Grid) -> NativeGrid:
        """The layout of a file in the axis order of ``grid``."""
        return cls(grid.shape, grid.affine)

    @property
    def canonical_grid(self) -> Grid:
        """The RAS+ grid of the same voxels."""
        i, j, k = (self.shape[axis] for axis in np.argsort(self._orientation[:, 0]))
        return Grid((i, j, k), self.affine @ self._canonical_to_native)

    @property
    def description(self) -> str:
        """Size and spacing, as "64 x 64 x 20 voxels of 0.7 x 0.7 x 3 mm"."""
        size = " x ".join(map(str, self.shape))
        return f"{size} voxels of {' x '.join(f'{s:.4g}' for s in Grid(self.shape, self.affine).spacing)} mm"

    def to_canonical(self, array: NDArray) -> NDArray:
        """Reorder an array of this file, (X, Y, Z, ...), to RAS+, (I, J, K, ...)."""
        return nib.orientations.apply_orientation(array, self._orientation)

    def from_canonical(self, array: NDArray) -> NDArray:
        """Reorder a RAS+ array, (I, J, K, ...), to the axis order of the file, (X, Y, Z, ...)."""
        canonical = [[axis, 1] for axis in range(3)]
        return nib.orientations.apply_orientation(array, nib.orientations.ornt_transform(canonical, self._orientation))

    def points_to_canonical(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (N, 3) in voxels of the file (as in landmark CSVs), in voxels of the canonical grid."""
        return transform_points(np.linalg.inv(self._canonical_to_native), points)

    def points_from_canonical(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (N, 3) in voxels of the canonical grid, in voxels of the file."""
        return transform_points(self._canonical_to_native, points)

    @property
    def _orientation(self) -> NDArray[np.float64]:
        return np.asarray(nib.orientations.io_orientation(self.affine), dtype=np.float64)

    @property
    def _canonical_to_native(self) -> NDArray[np.float64]:
        return np.asarray(nib.orientations.inv_ornt_aff(self._orientation, self.shape), dtype=np.float64)
