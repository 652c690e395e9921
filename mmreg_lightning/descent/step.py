"""The regularised step that training unrolls and the demons solver iterates."""

from __future__ import annotations

from torch import Tensor

from mmreg_lightning.descent.regularisers import Regulariser
from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.functional.products import Forces
from mmreg_lightning.functional.taylor import FORCES, taylor_system

MIN_ALPHA = 0.01
"""Below it the closed-form solution of a nearly singular system is dominated by rounding in float32."""


class DescentStep:
    """Warp, linearise, solve, regularise.

    Args:
        regulariser: regulariser of the update and of the displacement.
        alpha: noise floor, in units of feature values.
        max_step: K, bound of an unregularised step, in voxels of the current grid.
        forces: ``symmetric``, ``fixed`` or ``moving`` gradients.

    Raises:
        UserError: a value is outside its range.
    """

    def __init__(
        self, regulariser: Regulariser, alpha: float = 0.05, max_step: float = 1.0, forces: Forces = "symmetric"
    ) -> None:
        if forces not in FORCES:
            raise UserError(f"step.forces={forces!r}: must be one of {', '.join(FORCES)}")
        if not non_negative("step.alpha", alpha) >= MIN_ALPHA:
            raise UserError(f"step.alpha={alpha}: must be {MIN_ALPHA} or more")
        if not non_negative("step.max_step", max_step) > 0:
            raise UserError(f"step.max_step={max_step}: must be positive")
        self.regulariser = regulariser
        self.alpha = alpha
        self.max_step = max_step
        self.forces = forces

    def update(self, fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor | None = None) -> Tensor:
        """The regularised step d at the displacement u, (B, 3, I, J, K) in voxels.

        Args:
            fixed, moving: (B, C, I, J, K) features, the moving ones not warped.
            displacement: (B, 3, I, J, K) in voxels.
            weight: (B, 1, I, J, K) in [0, 1], trust in each voxel's residual; None is 1 everywhere.
        """
        system = taylor_system(
            fixed, moving, displacement, alpha=self.alpha, max_step=self.max_step, forces=self.forces, weight=weight
        )
        return self.regulariser.update(system, displacement)

    def advance(self, displacement: Tensor, update: Tensor) -> Tensor:
        """The displacement after a step: ``R_field(u + d)``, (B, 3, I, J, K) in voxels."""
        return self.regulariser.field(displacement + update)
