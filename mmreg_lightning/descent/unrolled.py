"""The unrolled descent that training differentiates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.warp import warp


class UnrolledStep(NamedTuple):
    """One of T steps; all tensors are (B, 3, I, J, K) in voxels.

    Attributes:
        update: the features' step d_t, with gradient, times the weight.
        target: the target step d*_t at the same displacement, without gradient, times the weight.
        displacement: the displacement after d_t was added.
        weight: (B, 1, I, J, K) in [0, 1], how far each voxel counts; None is fully everywhere.
    """

    update: Tensor
    target: Tensor
    displacement: Tensor
    weight: Tensor | None = None


Weights = tuple[Tensor, Tensor]
"""Trust in each voxel of the fixed and of the moving maps, (B, 1, I, J, K) in [0, 1] each."""


def unrolled_descent(
    step: DescentStep,
    fixed: Tensor,
    moving: Tensor,
    fixed_targets: Tensor,
    moving_targets: Tensor,
    start: Tensor,
    steps: int,
    weights: Weights | None = None,
) -> list[UnrolledStep]:
    """``steps`` steps along the features, each with the target step at the same displacement.

    Args:
        step: the regularised step, the same for features and target maps.
        fixed, moving: (B, C, I, J, K) features.
        fixed_targets, moving_targets: (B, L, I, J, K) target maps on the same grid.
        start: (B, 3, I, J, K) in voxels, the displacement to start from.
        steps: T.
        weights: of fixed and moving maps; None is 1 everywhere.
    """
    displacement = start
    taken = []
    for _ in range(steps):
        weight = _weight(weights, displacement)
        with torch.no_grad():
            target = step.update(fixed_targets, moving_targets, displacement, weight)
        update = step.update(fixed, moving, displacement, weight)
        displacement = step.advance(displacement, update)
        if weight is not None:
            update, target = update * weight, target * weight
        taken.append(UnrolledStep(update, target, displacement, weight))
    return taken


@torch.no_grad()
def descend(
    step: DescentStep, fixed: Tensor, moving: Tensor, start: Tensor, steps: int, weights: Weights | None = None
) -> Tensor:
    """The displacement after ``steps`` steps without gradient: (B, 3, I, J, K) in voxels."""
    displacement = start
    for _ in range(steps):
        weight = _weight(weights, displacement)
        displacement = step.advance(displacement, step.update(fixed, moving, displacement, weight))
    return displacement


@torch.no_grad()
def _weight(weights: Weights | None, displacement: Tensor) -> Tensor | None:
    """Of both images at a displacement."""
    return None if weights is None else weights[0] * warp(weights[1], displacement)
