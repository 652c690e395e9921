"""Agreement of the features' descent with the supervised descent, along a registration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.losses import mean_cosine
from mmreg_lightning.descent.step import DescentStep
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
    """
    cosines = []
    displacement: Tensor | None = None
    for f, m, f_targets, m_targets in pyramid((fixed, moving, fixed_targets, moving_targets), levels):
        displacement = carried_displacement(displacement, f)
        for _ in range(steps):
            update = step.update(f, m, displacement)
            cosines.append(float(mean_cosine(update, step.update(f_targets, m_targets, displacement))))
            displacement = step.advance(displacement, update)
    return sum(cosines) / len(cosines)
