"""Agreement of the features' descent with the supervised descent, along a registration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.losses import mean_cosine
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.unrolled import Weights, unrolled_descent
from mmreg_lightning.functional.resize import carried_displacement, pyramid


@torch.no_grad()
def descent_agreement(
    step: DescentStep,
    fixed: Tensor,
    moving: Tensor,
    fixed_targets: Tensor,
    moving_targets: Tensor,
    levels: Sequence[int],
    steps: int = 3,
    weights: Weights | None = None,
) -> float:
    """Mean cosine between the features' step and the target step, over the first steps at each pyramid level.

    The states are those of the features' own coarse-to-fine descent from zero displacement: all features are
    judged at the states that they lead to.

    Args:
        step: the regularised step.
        fixed, moving: (B, C, I, J, K) features.
        fixed_targets, moving_targets: (B, L, I, J, K) target maps on the same grid.
        levels: pooling factors, coarse to fine.
        steps: number of steps at each level.
        weights: of fixed and moving maps, on their grid; None is 1 everywhere. What has no weight leads nowhere and is
            not judged.
    """
    cosines = []
    displacement: Tensor | None = None
    for f, m, *level in pyramid((fixed, moving, fixed_targets, moving_targets, *(weights or ())), levels):
        displacement = carried_displacement(displacement, f)
        trust = None if weights is None else (level[2], level[3])
        for taken in unrolled_descent(step, f, m, level[0], level[1], displacement, steps, trust):
            cosines.append(float(mean_cosine(taken.update, taken.target)))
            displacement = taken.displacement
    return sum(cosines) / len(cosines)
