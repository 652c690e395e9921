"""Regularisers of the Taylor step and of the displacement that it is added to."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from mmreg_lightning.errors import non_negative, positive_int
from mmreg_lightning.functional.diffusion import diffusion_solve
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.taylor import TaylorSystem, solve_symmetric_3x3


class Regulariser(Protocol):
    """Solves the step's normal equations under a smoothness prior."""

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """The regularised step d, (B, 3, I, J, K) in voxels, at the displacement u of the same shape."""
        ...

    def field(self, displacement: Tensor) -> Tensor:
        """The regularised displacement after the step was added, (B, 3, I, J, K) in voxels."""
        ...


class GaussianRegulariser(Regulariser):
    """Gaussian smoothing of the update (fluid) and of the displacement (diffusion-like), as in Demons.

    Args:
        sigma_update: standard deviation for the update, in voxels of the current grid.
        sigma_field: standard deviation for the displacement, in voxels of the current grid.

    Raises:
        UserError: a standard deviation is negative.
    """

    def __init__(self, sigma_update: float = 1.0, sigma_field: float = 1.0) -> None:
        self.sigma_update = non_negative("regulariser.sigma_update", sigma_update)
        self.sigma_field = non_negative("regulariser.sigma_field", sigma_field)

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """``G(sigma_update)`` of the voxel-wise solution."""
        return gaussian_smooth(solve_symmetric_3x3(*system), self.sigma_update)

    def field(self, displacement: Tensor) -> Tensor:
        """``G(sigma_field)`` of the displacement."""
        return gaussian_smooth(displacement, self.sigma_field)


class DiffusionRegulariser(Regulariser):
    """The update minimises ``|J d - r|^2 + alpha^2 |d|^2 + weight |grad(u + d)|^2`` over the whole grid.

    Args:
        weight: weight of the smoothness term, in squared feature values.
        iterations: number of conjugate gradient iterations.

    Raises:
        UserError: ``weight`` is negative, or ``iterations`` is below 1.
    """

    def __init__(self, weight: float = 0.05, iterations: int = 10) -> None:
        self.weight = non_negative("regulariser.weight", weight)
        self.iterations = positive_int("regulariser.iterations", iterations)

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """Solution of the coupled system, see ``diffusion_solve``."""
        return diffusion_solve(system.matrix, system.rhs, displacement, self.weight, self.iterations)

    def field(self, displacement: Tensor) -> Tensor:
        """The displacement unchanged: its smoothness is part of the update's energy."""
        return displacement


class NoRegulariser(Regulariser):
    """The voxel-wise solution, not smoothed."""

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """The voxel-wise solution."""
        return solve_symmetric_3x3(*system)

    def field(self, displacement: Tensor) -> Tensor:
        """The displacement unchanged."""
        return displacement
