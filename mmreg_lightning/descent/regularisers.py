"""How one Taylor step, and the displacement that it is added to, are kept smooth."""

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


class GaussianRegulariser:
    """Gaussian smoothing of the update (fluid) and of the displacement (diffusion-like), as in Demons.

    Args:
        sigma_update: standard deviation for the update, in voxels of the current grid.
        sigma_field: the same for the displacement.
    """

    def __init__(self, sigma_update: float = 1.0, sigma_field: float = 1.0) -> None:
        self.sigma_update = non_negative("regulariser.sigma_update", sigma_update)
        self.sigma_field = non_negative("regulariser.sigma_field", sigma_field)

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """``G(sigma_update)`` of the voxel-wise solution; see ``Regulariser``."""
        return gaussian_smooth(solve_symmetric_3x3(*system), self.sigma_update)

    def field(self, displacement: Tensor) -> Tensor:
        """``G(sigma_field)`` of the displacement; see ``Regulariser``."""
        return gaussian_smooth(displacement, self.sigma_field)


class DiffusionRegulariser:
    """The update minimises the linearised energy plus ``weight * |grad(u + d)|^2`` over the whole grid.

    Args:
        weight: lambda of METHOD's `diffusion`, in squared feature values.
        iterations: of the matrix-free conjugate gradients.
    """

    def __init__(self, weight: float = 0.05, iterations: int = 10) -> None:
        self.weight = non_negative("regulariser.weight", weight)
        self.iterations = positive_int("regulariser.iterations", iterations)

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """Solution of the coupled system; see ``Regulariser``."""
        return diffusion_solve(system.matrix, system.rhs, displacement, self.weight, self.iterations)

    def field(self, displacement: Tensor) -> Tensor:
        """The displacement as it is: its smoothness is part of the update's energy."""
        return displacement


class NoRegulariser:
    """The voxel-wise solution, unsmoothed."""

    def update(self, system: TaylorSystem, displacement: Tensor) -> Tensor:
        """The voxel-wise solution; see ``Regulariser``."""
        return solve_symmetric_3x3(*system)

    def field(self, displacement: Tensor) -> Tensor:
        """The displacement as it is."""
        return displacement
