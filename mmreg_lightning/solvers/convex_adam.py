"""Discrete search by coupled convex optimisation, followed by instance optimisation (ConvexAdam)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.errors import non_negative, positive_int
from mmreg_lightning.functional.correlation import COUPLING, correlation_volume, coupled_convex, search_offsets
from mmreg_lightning.functional.resize import axis_factors, pad_to_multiple, pool, resize_displacement
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.solvers.adam import AdamRefinement
from mmreg_lightning.solvers.protocol import Progress, Solver, crop, step_counter

CONSISTENCY_ROUNDS = 15


class ConvexAdamSolver(Solver):
    """Finds large displacements by an exhaustive search on coarse features, and refines them by Adam.

    The search runs in both directions, and the two fields are made inverse to each other. The functions of the
    convexAdam package do not support masks, and importing them disables all Python warnings.

    Source: Siebert, Grossbroehmer, Hansen and Heinrich, *ConvexAdam*, IEEE Trans. Med. Imaging 2024.

    Args:
        refinement: optimiser on the features' own grid.
        grid_spacing: feature voxels to one voxel of the search grid, along each axis; fewer on a short axis, see
            ``axis_factors``.
        radius: largest displacement of the search along an axis, in voxels of the search grid; at most half of a short
            axis.
        coupling: factor of the coupling weights; a larger one gives a smoother field.

    Raises:
        UserError: a value is outside its range.
    """

    def __init__(
        self, refinement: AdamRefinement, grid_spacing: int = 2, radius: int = 4, coupling: float = 1.0
    ) -> None:
        self.refinement = refinement
        self.grid_spacing = positive_int("solver.grid_spacing", grid_spacing)
        self.levels = [self.grid_spacing]
        self.radius = positive_int("solver.radius", radius)
        self.coupling = non_negative("solver.coupling", coupling)

    @torch.no_grad()
    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        shape = fixed.shape[2:]
        factors = axis_factors(shape, self.grid_spacing)
        step_done = step_counter(2 * len(fixed) + self.refinement.iterations, progress)
        padded = [pad_to_multiple(x, factors) for x in (fixed, moving)]
        f, m = (pool(x, factors) for x in padded)
        w, mw = (None if x is None else pool(x, factors) for x in (weight, moving_weight))
        radii = self._radii(f.shape[2:], factors)
        found = []
        for index in range(len(f)):
            one = slice(index, index + 1)
            trusts = [None if x is None else x[one] for x in (w, mw)]
            forward = self._search(f[one], m[one], trusts[0], radii)
            step_done()
            backward = self._search(m[one], f[one], trusts[1], radii)
            step_done()
            found.append(_consistent(forward, backward))
        coarse = torch.cat(found)
        start = crop(resize_displacement(coarse, padded[0].shape[2:]), 1, shape)
        return self.refinement(fixed, moving, start, weight, step_done, moving_weight)

    def _radii(self, shape: Sequence[int], factors: Sequence[int]) -> list[int]:
        """The radius along each axis, in voxels of the search grid (I, J, K) of these factors.

        The same number of feature voxels along all axes, but on a short axis not more than half of it.
        """
        own = []
        for n, factor in zip(shape, factors, strict=True):
            same = self.radius * self.grid_spacing // factor
            own.append(self.radius if factor == self.grid_spacing else max(1, min(same, n // 2)))
        return own

    def _search(self, fixed: Tensor, moving: Tensor, weight: Tensor | None, radii: Sequence[int]) -> Tensor:
        cost = correlation_volume(fixed, moving, radii, weight)
        rounds = [self.coupling * c for c in COUPLING]
        return coupled_convex(cost, search_offsets(radii, fixed.device), rounds)


def _consistent(forward: Tensor, backward: Tensor) -> Tensor:
    """The forward one of two (1, 3, I, J, K) fields in voxels after both were made inverse to each other.

    Each round halves the difference of each field to the inverse of the other one.
    """
    for _ in range(CONSISTENCY_ROUNDS):
        forward, backward = 0.5 * (forward - warp(backward, forward)), 0.5 * (backward - warp(forward, backward))
    return forward
