"""What every solver offers: it takes the maps of any feature family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (iterations done, iterations in all)."""


class Solver(Protocol):
    """Estimates the displacement that aligns two feature maps."""

    def __call__(
        self, fixed: Tensor, moving: Tensor, weight: Tensor | None = None, progress: Progress | None = None
    ) -> Tensor:
        """Register features.

        Args:
            fixed, moving: (B, C, I, J, K) on one common grid.
            weight: (B, 1, I, J, K) in [0, 1], the trust in each voxel of the fixed features.
            progress: told of each iteration.

        Returns:
            (B, 3, I, J, K) in voxels of that grid, fixed to moving.
        """
        ...
