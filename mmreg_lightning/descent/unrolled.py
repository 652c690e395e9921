"""The unrolled descent that training differentiates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep


class UnrolledStep(NamedTuple):
    """One of T steps.

    Attributes:
        update: (B, 3, I, J, K), the features' step d_t in voxels, with gradient.
        target: (B, 3, I, J, K), the labels' step d*_t at the same displacement, without gradient.
        displacement: (B, 3, I, J, K), the displacement after d_t was added.
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
    """Take ``steps`` steps along the features, and at each visited state ask the labels where they would go.

    Args:
        step: the regularised step, the same for features and label functions.
        fixed, moving: (B, C, I, J, K) features.
        fixed_targets, moving_targets: (B, L, I, J, K) label functions on the same grid.
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
