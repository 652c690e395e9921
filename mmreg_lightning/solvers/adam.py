"""Instance optimisation: Adam on a control grid of displacements, and the energy that it minimises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative, positive_int
from mmreg_lightning.functional.resize import carried_displacement, resize_displacement
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.solvers.protocol import (
    Progress,
    Solver,
    crop,
    pooling_factors,
    step_counter,
    total_weight,
    weighted_pyramid,
)

_LEAST_CONTROL = 2  # voxels of the control grid along an axis: one has no difference to a neighbour


def feature_ssd(fixed: Tensor, warped: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared feature difference, summed over channels and averaged over voxels with weight ``weight``: a scalar.

    Args:
        fixed, warped: (B, C, I, J, K) features.
        weight: (B, 1, I, J, K) in [0, 1]; None is 1 everywhere.
    """
    difference = (fixed - warped).square().sum(1, keepdim=True)
    if weight is None:
        return difference.mean()
    return (difference * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def diffusion_energy(displacement: Tensor) -> Tensor:
    """Squared forward differences of (B, 3, I, J, K), summed over components and axes, averaged over voxels."""
    return sum((displacement.diff(dim=axis).square().sum(1).mean() for axis in (2, 3, 4)), displacement.new_zeros(()))


class AdamRefinement:
    """Minimises ``feature_ssd + weight * diffusion_energy`` from any start, on one grid.

    The unknowns are a coarse control grid of displacements, which is smoothed and enlarged trilinearly. The diffusion
    energy is that of the smoothed control grid, in its own voxels.

    Args:
        weight: weight of the diffusion energy.
        iterations: number of Adam iterations.
        learning_rate: learning rate of Adam, in voxels of the control grid.
        control_spacing: feature voxels to one voxel of the control grid, along each axis, which keeps two voxels
            at least.
        smoothing: standard deviation of the Gaussian, in voxels of the control grid.

    Raises:
        UserError: a value is outside its range.
    """

    def __init__(
        self,
        weight: float = 0.5,
        iterations: int = 80,
        learning_rate: float = 0.1,
        control_spacing: int = 2,
        smoothing: float = 1.0,
    ) -> None:
        self.weight = non_negative("solver.refinement.weight", weight)
        self.iterations = positive_int("solver.refinement.iterations", iterations)
        self.learning_rate = non_negative("solver.refinement.learning_rate", learning_rate)
        self.control_spacing = positive_int("solver.refinement.control_spacing", control_spacing)
        self.smoothing = non_negative("solver.refinement.smoothing", smoothing)

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        start: Tensor,
        weight: Tensor | None = None,
        step_done: Callable[[], None] | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        """The displacement after optimisation from ``start``, (B, 3, I, J, K) in voxels.

        Args:
            fixed, moving: (B, C, I, J, K) features.
            start: (B, 3, I, J, K) in voxels.
            weight, moving_weight: (B, 1, I, J, K) in [0, 1], see ``Solver``.
            step_done: called after each iteration.
        """
        shape = fixed.shape[2:]
        coarse = [max(-(-n // self.control_spacing), min(n, _LEAST_CONTROL)) for n in shape]
        # Gradients are needed although registration disables them and validation runs in inference mode.
        with torch.inference_mode(False), torch.enable_grad():
            fixed, moving = fixed.clone().detach(), moving.clone().detach()
            trusts = [None if w is None else w.clone().detach() for w in (weight, moving_weight)]
            control = resize_displacement(start, coarse).clone().detach().requires_grad_()
            optimizer = torch.optim.Adam([control], lr=self.learning_rate)
            for _ in range(self.iterations):
                smooth = gaussian_smooth(control, self.smoothing)
                displacement = resize_displacement(smooth, shape)
                # Detached: the energy must not decrease by moving to untrusted voxels.
                trust = total_weight(trusts[0], trusts[1], displacement.detach())
                energy = feature_ssd(fixed, warp(moving, displacement), trust) + self.weight * diffusion_energy(smooth)
                optimizer.zero_grad()
                energy.backward()
                optimizer.step()
                if step_done is not None:
                    step_done()
            return resize_displacement(gaussian_smooth(control.detach(), self.smoothing), shape)


class AdamSolver(Solver):
    """``AdamRefinement`` from zero displacement, coarse to fine on a pyramid of averaged features.

    Args:
        refinement: optimiser of every level.
        levels: pooling factors, coarse to fine; a short axis is pooled less, see ``level_factors``.

    Raises:
        UserError: ``levels`` are not positive factors from coarse to fine.
    """

    def __init__(self, refinement: AdamRefinement, levels: Sequence[int] = (4, 2, 1)) -> None:
        self.refinement = refinement
        self.levels = pooling_factors(levels)

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        step_done = step_counter(self.refinement.iterations * len(self.levels), progress)
        displacement: Tensor | None = None
        for f, m, w, mw in weighted_pyramid(fixed, moving, weight, moving_weight, self.levels):
            start = carried_displacement(displacement, f)
            displacement = self.refinement(f, m, start, w, step_done, mw)
        assert displacement is not None
        return crop(displacement, self.levels[-1], fixed.shape[2:])
