"""Instance optimisation: Adam on a control grid of displacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative, positive_int
from mmreg_lightning.functional.energy import diffusion_energy, feature_ssd
from mmreg_lightning.functional.resize import carried_displacement, resize_displacement
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.solvers.protocol import Progress, crop, is_factors, step_counter, total_weight, weighted_pyramid


class AdamRefinement:
    """Minimises ``mean |f - m_u|^2 + weight * diffusion energy of u`` from any start, on one grid.

    The displacement is a control grid that is smoothed and enlarged trilinearly, so it is smooth by construction and
    has few unknowns. The energy of the smoothness is that of the control grid, in its own voxels.

    Args:
        weight: of the diffusion energy.
        iterations: of Adam.
        learning_rate: in voxels of the control grid.
        control_spacing: voxels of the features to one of the control grid, along each axis.
        smoothing: standard deviation of the Gaussian on the control grid, in its voxels.

    Raises:
        UserError: a value outside its range.
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
        """The displacement of least energy that is found from ``start``.

        Args:
            fixed, moving: (B, C, I, J, K).
            start: (B, 3, I, J, K) in voxels.
            weight, moving_weight: see ``Solver``.
            step_done: called after each iteration.

        Returns:
            (B, 3, I, J, K) in voxels.
        """
        shape = fixed.shape[2:]
        coarse = [-(-n // self.control_spacing) for n in shape]
        # Registration runs without gradients, training's validation in inference mode: neither may reach this far.
        with torch.inference_mode(False), torch.enable_grad():
            fixed, moving = fixed.clone().detach(), moving.clone().detach()
            trusts = [None if w is None else w.clone().detach() for w in (weight, moving_weight)]
            control = resize_displacement(start, coarse).clone().detach().requires_grad_()
            optimizer = torch.optim.Adam([control], lr=self.learning_rate)
            for _ in range(self.iterations):
                smooth = gaussian_smooth(control, self.smoothing)
                displacement = resize_displacement(smooth, shape)
                # Without a gradient: the energy must not fall by moving to where nothing is trusted.
                trust = total_weight(trusts[0], trusts[1], displacement.detach())
                energy = feature_ssd(fixed, warp(moving, displacement), trust) + self.weight * diffusion_energy(smooth)
                optimizer.zero_grad()
                energy.backward()
                optimizer.step()
                if step_done is not None:
                    step_done()
            return resize_displacement(gaussian_smooth(control.detach(), self.smoothing), shape)


class AdamSolver:
    """``AdamRefinement`` from no displacement, coarse to fine on a pyramid of averaged features.

    Args:
        refinement: runs on every level.
        levels: pooling factors, coarse to fine.

    Raises:
        ValueError: levels are not decreasing positive factors.
    """

    def __init__(self, refinement: AdamRefinement, levels: Sequence[int] = (4, 2, 1)) -> None:
        if not is_factors(levels):
            raise ValueError(f"solver.levels={levels}: must be pooling factors from coarse to fine, as [4, 2, 1]")
        self.refinement = refinement
        self.levels = list(levels)

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        """See ``Solver``."""
        step_done = step_counter(self.refinement.iterations * len(self.levels), progress)
        displacement: Tensor | None = None
        for f, m, w, mw in weighted_pyramid(fixed, moving, weight, moving_weight, self.levels):
            start = carried_displacement(displacement, f)
            displacement = self.refinement(f, m, start, w, step_done, mw)
        assert displacement is not None
        return crop(displacement, self.levels[-1], fixed.shape[2:])
