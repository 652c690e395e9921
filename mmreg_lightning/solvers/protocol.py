"""What every solver offers: it takes the maps of any feature family."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from mmreg_lightning.functional.resize import pyramid, resize_displacement
from mmreg_lightning.functional.warp import warp

Progress = Callable[[int, int], None]
"""Called with (iterations done, iterations in all)."""
MIN_SIDE = 4  # voxels: below this a central difference sees mostly borders


class Solver(Protocol):
    """Estimates the displacement that aligns two feature maps."""

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: Tensor | None = None,
    ) -> Tensor:
        """Register features.

        Args:
            fixed, moving: (B, C, I, J, K) on one common grid.
            weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel of the fixed features.
            progress: told of each iteration.
            moving_weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel of the moving features; it moves with
                them.

        Returns:
            (B, 3, I, J, K) in voxels of that grid, fixed to moving.
        """
        ...


def step_counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """What a solver calls after each iteration: it tells ``progress`` how many of ``total`` are done."""
    done = itertools.count(1)

    def step_done() -> None:
        if progress is not None:
            progress(next(done), total)

    return step_done


def total_weight(weight: Tensor | None, moving_weight: Tensor | None, displacement: Tensor) -> Tensor | None:
    """Trust in each place of the fixed features under a displacement, from that in both images; None is 1 everywhere.

    Args:
        weight, moving_weight: (B, 1, I, J, K), see ``Solver``.
        displacement: (B, 3, I, J, K) in voxels.
    """
    if moving_weight is None:
        return weight
    warped = warp(moving_weight, displacement)
    return warped if weight is None else weight * warped


def weighted_pyramid(
    fixed: Tensor, moving: Tensor, weight: Tensor | None, moving_weight: Tensor | None, factors: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
    """Features and weights at each level of a pyramid; see ``Solver`` and ``pyramid``."""
    given = [x for x in (weight, moving_weight) if x is not None]
    for f, m, *weights in pyramid((fixed, moving, *given), factors):
        rest = iter(weights)
        yield f, m, None if weight is None else next(rest), None if moving_weight is None else next(rest)


def is_factors(levels: object) -> bool:
    """Whether ``levels`` are positive whole pooling factors from coarse to fine, at least one."""
    if not isinstance(levels, Sequence) or not levels or not all(isinstance(factor, int) for factor in levels):
        return False
    return min(levels) >= 1 and sorted(levels, reverse=True) == list(levels)


def crop(displacement: Tensor, factor: int, shape: Sequence[int]) -> Tensor:
    """The displacement of a pyramid's last level on the grid that the pyramid was built from.

    Args:
        displacement: (B, 3, i, j, k) in voxels of that level, which covers the grid lengthened at its ends.
        factor: of that level.
        shape: (I, J, K) of the grid.

    Returns:
        (B, 3, I, J, K) in voxels of the grid.
    """
    full = resize_displacement(displacement, [n * factor for n in displacement.shape[2:]])
    return full[:, :, : shape[0], : shape[1], : shape[2]].contiguous()
