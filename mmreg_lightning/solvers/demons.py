"""Coarse-to-fine Demons on multi-channel features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.functional.resize import carried_displacement
from mmreg_lightning.solvers.protocol import (
    MIN_SIDE,
    Progress,
    crop,
    is_factors,
    step_counter,
    total_weight,
    weighted_pyramid,
)

_LOOK_EVERY = 5  # iterations


class DemonsSolver:
    """Iterates the regularised Taylor step on a pyramid of averaged features.

    Args:
        step: the regularised step; the same one that training unrolls.
        levels: pooling factors, coarse to fine.
        iterations: at most, for each level, or one number for all.
        tolerance: a level ends when an iteration changes the displacement by less than this, in voxels of the level
            (root mean square over all voxels), which every fifth iteration looks at; 0 takes all iterations.

    Raises:
        ValueError: levels are not decreasing positive factors, there is not one iteration count a level, or the
            tolerance is negative.
    """

    def __init__(
        self,
        step: DescentStep,
        levels: Sequence[int] = (4, 2, 1),
        iterations: int | Sequence[int] = 40,
        tolerance: float = 0.001,
    ) -> None:
        self.step = step
        self.tolerance = non_negative("solver.tolerance", tolerance)
        if not is_factors(levels):
            raise ValueError(f"solver.levels={levels}: must be pooling factors from coarse to fine, as [4, 2, 1]")
        self.levels = list(levels)
        several = isinstance(iterations, Sequence) and all(isinstance(count, int) for count in iterations)
        if not several and not isinstance(iterations, int):
            raise ValueError(f"solver.iterations={iterations}: must be a whole number, or one for each level")
        counts = [iterations] * len(self.levels) if isinstance(iterations, int) else list(iterations)
        if len(counts) != len(self.levels) or min(counts) < 0:
            raise ValueError(f"solver.iterations={counts}: must be one count, or one for each of {self.levels}")
        self.iterations = counts

    @torch.no_grad()
    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        """See ``Solver``.

        Raises:
            UserError: the features are too small for the coarsest level.
        """
        smallest = min(fixed.shape[2:]) // self.levels[0]
        if smallest < MIN_SIDE:
            raise UserError(
                f"solver.levels={self.levels}: features of {tuple(fixed.shape[2:])} voxels are too small for a "
                f"pyramid that starts at 1/{self.levels[0]} (it needs {MIN_SIDE} voxels a side there)"
            )
        step_done = step_counter(sum(self.iterations), progress)
        displacement: Tensor | None = None
        levels = zip(weighted_pyramid(fixed, moving, weight, moving_weight, self.levels), self.iterations, strict=True)
        for (f, m, w, mw), count in levels:
            displacement = carried_displacement(displacement, f)
            moves = True
            for iteration in range(count):
                if moves:
                    before, trust = displacement, total_weight(w, mw, displacement)
                    update = self.step.update(f, m, displacement, weight=trust)
                    displacement = self.step.advance(displacement, update)
                    # Not every time: on a GPU each look waits for all that was asked of it before.
                    if iteration % _LOOK_EVERY == _LOOK_EVERY - 1:
                        moves = bool((displacement - before).square().sum(1).mean().sqrt() >= self.tolerance)
                step_done()
        assert displacement is not None
        return crop(displacement, self.levels[-1], fixed.shape[2:])
