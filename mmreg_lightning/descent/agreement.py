"""How well the descent of any features agrees with that of the labels, along a registration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmreg_lightning.descent.losses import mean_cosine
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.resize import pad_to_multiple, pool, resize_displacement


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
    """Mean cosine between the features' and the labels' step over the first steps at each pyramid level.

    The states are those of the features' own coarse-to-fine descent from no displacement, so learned and
    hand-crafted features are each judged where they lead.

    Args:
        step: the regularised step.
        fixed, moving: (B, C, I, J, K) features.
        fixed_targets, moving_targets: (B, L, I, J, K) label functions on the same grid.
        levels: pooling factors, coarse to fine.
        steps: steps a level.
    """
    multiple = math.lcm(*levels)
    maps = [pad_to_multiple(x, multiple) for x in (fixed, moving, fixed_targets, moving_targets)]
    cosines = []
    displacement: Tensor | None = None
    for factor in levels:
        f, m, pf, pm = (pool(x, factor) for x in maps)
        shape = f.shape[2:]
        displacement = (
            f.new_zeros(f.shape[0], 3, *shape) if displacement is None else resize_displacement(displacement, shape)
        )
        for _ in range(steps):
            update = step.update(f, m, displacement)
            cosines.append(float(mean_cosine(update, step.update(pf, pm, displacement))))
            displacement = step.advance(displacement, update)
    return sum(cosines) / len(cosines)
