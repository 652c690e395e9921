"""Coarse-to-fine Demons on multi-channel features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import pad_to_multiple, pool, resize_displacement
from mmreg_lightning.functional.taylor import feature_gradient
from mmreg_lightning.solvers.protocol import Progress

MIN_SIDE = 4  # voxels: below this a central difference sees mostly borders


class DemonsSolver:
    """Iterates the regularised Taylor step on a pyramid of averaged features.

    Args:
        step: the regularised step; the same one that training unrolls.
        levels: pooling factors, coarse to fine.
        iterations: for each level, or one number for all.

    Raises:
        ValueError: levels are not decreasing positive factors, or there is not one iteration count a level.
    """

    def __init__(
        self, step: DescentStep, levels: Sequence[int] = (4, 2, 1), iterations: int | Sequence[int] = 40
    ) -> None:
        self.step = step
        if not isinstance(levels, Sequence) or not all(isinstance(factor, int) for factor in levels):
            raise ValueError(f"solver.levels={levels}: must be pooling factors from coarse to fine, as [4, 2, 1]")
        self.levels = list(levels)
        several = isinstance(iterations, Sequence) and all(isinstance(count, int) for count in iterations)
        if not several and not isinstance(iterations, int):
            raise ValueError(f"solver.iterations={iterations}: must be a whole number, or one for each level")
        counts = [iterations] * len(self.levels) if isinstance(iterations, int) else list(iterations)
        if not self.levels or min(self.levels) < 1 or sorted(self.levels, reverse=True) != self.levels:
            raise ValueError(f"solver.levels={self.levels}: must be pooling factors from coarse to fine, as [4, 2, 1]")
        if len(counts) != len(self.levels) or min(counts) < 0:
            raise ValueError(f"solver.iterations={counts}: must be one count, or one for each of {self.levels}")
        self.iterations = counts

    @torch.no_grad()
    def __call__(
        self, fixed: Tensor, moving: Tensor, weight: Tensor | None = None, progress: Progress | None = None
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
        shape = fixed.shape[2:]
        multiple = math.lcm(*self.levels)
        fixed, moving = pad_to_multiple(fixed, multiple), pad_to_multiple(moving, multiple)
        weight = None if weight is None else pad_to_multiple(weight, multiple)
        done, total = 0, sum(self.iterations)
        displacement: Tensor | None = None
        for factor, count in zip(self.levels, self.iterations, strict=True):
            f, m = pool(fixed, factor), pool(moving, factor)
            w = None if weight is None else pool(weight, factor)
            if displacement is None:
                displacement = f.new_zeros(f.shape[0], 3, *f.shape[2:])
            else:
                displacement = resize_displacement(displacement, f.shape[2:])
            gradient = feature_gradient(f)
            for _ in range(count):
                update = self.step.update(f, m, displacement, fixed_gradient=gradient, weight=w)
                displacement = self.step.advance(displacement, update)
                done += 1
                if progress is not None:
                    progress(done, total)
        assert displacement is not None
        full = resize_displacement(displacement, fixed.shape[2:])
        return full[:, :, : shape[0], : shape[1], : shape[2]].contiguous()
