"""The unrolled descent that training differentiates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep


class UnrolledStep(NamedTuple):
    """One of T steps; all tensors are (B, 3, I, J, K) in voxels.

    Attributes:
        update: the features' step d_t, with gradient.
        target: the target step d*_t at the same displacement, without gradient.
        displacement: the displacement after d_t was added.
    """

    update: Tensor
    target: Tensor
    displacement: Tensor


def unrolled_descent(
    step: DescentStep,
    fixed: Tensor,
    moving: Tensor,
    fixed_targets: Tensor,
    moving_targets: Tensor,
    start: Tensor,
    steps: int,
) -> list[UnrolledStep]:
    """``steps`` steps along the features, each with the target step at the same displacement.

    Args:
        step: the regularised step, the same for features and target maps.
        fixed, moving: (B, C, I, J, K) features.
        fixed_targets, moving_targets: (B, L, I, J, K) target maps on the same grid.
        start: (B, 3, I, J, K) in voxels, the displacement to start from.
        steps: T.
    """
    displacement = start
    taken = []
    for _ in range(steps):
        with torch.no_grad():
            target = step.update(fixed_targets, moving_targets, displacement)
        update = step.update(fixed, moving, displacement)
        displacement = step.advance(displacement, update)
        taken.append(UnrolledStep(update, target, displacement))
    return taken


@torch.no_grad()
def descend(step: DescentStep, fixed: Tensor, moving: Tensor, start: Tensor, steps: int) -> Tensor:
    """The displacement after ``steps`` steps without gradient: (B, 3, I, J, K) in voxels."""
    displacement = start
    for _ in range(steps):
        displacement = step.advance(displacement, step.update(fixed, moving, displacement))
    return displacement
