"""Free-form deformations by B-splines, as ITK defines them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.world_transforms import (
    AffineTransform,
    Deformation,
    InverseFieldTransform,
    lattice,
    least_squares_affine,
)

_EDGE = 1e-9  # control points: rounding at the edge of the domain


@dataclass(frozen=True, eq=False)
class SplineTransform(Deformation):
    """``x + u(x)`` with ``u(x) = sum_i c_i B(v(x) - i)``: B-splines B on a grid of control points, v its voxels.

    u is 0 outside of the domain, where a spline would need control points beyond the grid
    (``itk::BSplineTransform::InsideValidRegion``).

    Attributes:
        coefficients: (3, I, J, K) c, world RAS mm.
        grid: of the control points.
        order: of the splines, 1 to 3.
    """

    coefficients: NDArray[np.float64]
    grid: Grid
    order: int

    def __call__(self, points: Tensor) -> Tensor:
        voxels = self._voxels(points)
        inside = self._inside(voxels)
        moved = np.zeros_like(voxels)
        for axis in range(3):
            moved[inside, axis] = map_coordinates(
                self.coefficients[axis], voxels[inside].T, order=self.order, prefilter=False, mode="nearest"
            )
        return points + torch.from_numpy(moved).to(points)

    def inverse(self) -> InverseFieldTransform:
        return InverseFieldTransform(self)

    def covers(self, points: Tensor) -> Tensor:
        return torch.from_numpy(self._inside(self._voxels(points))).to(points.device)

    @cached_property
    def closest_affine(self) -> AffineTransform:
        margin = (self.order - 1) / 2
        shape = np.array(self.grid.shape)
        steps = lattice((16, 16, 16)) / 15
        source = transform_points(self.grid.affine, margin + steps * (shape - 1 - 2 * margin))
        return least_squares_affine(source, self(torch.from_numpy(source)).numpy())

    def _voxels(self, points: Tensor) -> NDArray[np.float64]:
        return transform_points(np.linalg.inv(self.grid.affine), points.detach().cpu().double().numpy())

    def _inside(self, voxels: NDArray[np.float64]) -> NDArray[np.bool_]:
        margin = (self.order - 1) / 2
        last = np.array(self.grid.shape) - 1 - margin
        return np.asarray(((voxels >= margin - _EDGE) & (voxels <= last + _EDGE)).all(axis=-1))
