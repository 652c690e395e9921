"""The solver protocol, and what the solvers share: pyramid levels, weights and progress."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.resize import level_factors, pyramid, resize_displacement
from mmreg_lightning.functional.warp import warp

Progress = Callable[[int, int], None]
"""Called with (iterations done, total iterations)."""


class Solver(Protocol):
    """Estimates the displacement that aligns two feature maps.

    A solver with a pyramid names its pooling factors, coarse to fine, in an attribute ``levels``.
    """

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        """The displacement from fixed to moving, (B, 3, I, J, K) in voxels.

        Args:
            fixed, moving: (B, C, I, J, K) on one common grid.
            weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel of the fixed features.
            progress: called after each iteration.
            moving_weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel of the moving features, not warped.
        """
        ...


def step_counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """A function that a solver calls after each of ``total`` iterations to report to ``progress``."""
    done = itertools.count(1)

    def step_done() -> None:
        if progress is not None:
            progress(next(done), total)

    return step_done


def total_weight(weight: Tensor | None, moving_weight: Tensor | None, displacement: Tensor) -> Tensor | None:
    """Product of the fixed and the warped moving weight of ``Solver``, (B, 1, I, J, K); None is 1 everywhere."""
    if moving_weight is None:
        return weight
    warped = warp(moving_weight, displacement)
    return warped if weight is None else weight * warped


def weighted_pyramid(
    fixed: Tensor, moving: Tensor, weight: Tensor | None, moving_weight: Tensor | None, levels: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
    """Fixed and moving features and their weights at each level of ``pyramid``."""
    given = [x for x in (weight, moving_weight) if x is not None]
    for f, m, *weights in pyramid((fixed, moving, *given), levels):
        rest = iter(weights)
        yield f, m, None if weight is None else next(rest), None if moving_weight is None else next(rest)


def pooling_factors(levels: Sequence[int]) -> list[int]:
    """The pooling factors of a pyramid, as a list.

    Raises:
        UserError: ``levels`` is empty, or not positive whole numbers from coarse to fine.
    """
    usable = isinstance(levels, Sequence) and all(isinstance(factor, int) and factor >= 1 for factor in levels)
    if not usable or not levels or sorted(levels, reverse=True) != list(levels):
        raise UserError(f"solver.levels={levels}: must be pooling factors from coarse to fine, as [4, 2, 1]")
    return list(levels)


def crop(displacement: Tensor, level: int, shape: Sequence[int]) -> Tensor:
    """The displacement of a pyramid level on the pyramid's own grid, (B, 3, I, J, K) in voxels of that grid.

    Args:
        displacement: (B, 3, i, j, k) in voxels of the level, whose grid may be longer than the pyramid's.
        level: pooling factor of the level, see ``level_factors``.
        shape: (I, J, K) of the pyramid's grid.
    """
    factors = level_factors(shape, [level])[0]
    full = resize_displacement(displacement, [n * f for n, f in zip(displacement.shape[2:], factors, strict=True)])
    return full[:, :, : shape[0], : shape[1], : shape[2]].contiguous()


def short_axes_note(solver: Solver, shape: Sequence[int]) -> str | None:
    """What a solver does about axes that are too short for its pyramid, one sentence; None where all are long enough.

    Args:
        solver: one without ``levels`` has no pyramid.
        shape: (I, J, K) of the features.
    """
    coarsest = next(iter(getattr(solver, "levels", ())), 1)
    axes = zip("IJK", shape, level_factors(shape, [coarsest])[0], strict=True)
    short = [(axis, str(n), str(factor)) for axis, n, factor in axes if factor < coarsest]
    if not short:
        return None
    names, sizes, factors = (", ".join(words) for words in zip(*short, strict=True))
    return (
        f"The features have only {sizes} voxels along {names} (RAS+ axes), so the solver's coarsest level averages "
        f"{factors} of them instead of {coarsest}."
    )
