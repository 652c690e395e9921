"""Coarse-to-fine Demons on multi-channel features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.functional.resize import carried_displacement
from mmreg_lightning.solvers.protocol import (
    Progress,
    Solver,
    crop,
    pooling_factors,
    step_counter,
    total_weight,
    weighted_pyramid,
)

_CHECK_EVERY = 5  # iterations


class DemonsSolver(Solver):
    """Iterates the regularised Taylor step on a pyramid of averaged features.

    Args:
        step: the regularised step.
        levels: pooling factors, coarse to fine; a short axis is pooled less, see ``level_factors``.
        iterations: largest number of iterations, one for all levels or one for each.
        tolerance: a level ends when an iteration changes the displacement by less than this root mean square over all
            voxels, in voxels of the level; checked in every fifth iteration. 0 takes all iterations.

    Raises:
        UserError: ``levels`` are not positive factors from coarse to fine, there is not one iteration count for each
            level, or a value is negative.
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
        self.levels = pooling_factors(levels)
        counts = list(iterations) if isinstance(iterations, Sequence) else [iterations] * len(self.levels)
        if len(counts) != len(self.levels) or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise UserError(f"solver.iterations={iterations}: must be a whole number, or one for each level")
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
                    # Not in every iteration: on a GPU the check waits for all queued work.
                    if iteration % _CHECK_EVERY == _CHECK_EVERY - 1:
                        moves = bool((displacement - before).square().sum(1).mean().sqrt() >= self.tolerance)
                step_done()
        assert displacement is not None
        return crop(displacement, self.levels[-1], fixed.shape[2:])
