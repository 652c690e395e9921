"""Start displacements of the unrolled steps in training."""

from __future__ import annotations

import random

from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.unrolled import Weights, descend
from mmreg_lightning.errors import UserError


class StartStates:
    """A random mixture of three kinds of start displacements.

    A registration visits the states of the features' own descent. Features trained only from zero displacement or
    from the labels' descent have a low loss but drift in a full registration, so a share of the training steps
    starts on the features' own descent.

    Args:
        zero: share of the training steps that start from zero displacement.
        labels: share that starts after a few steps of the supervised descent.
        own: share that starts after some steps of the current features' descent.
        max_label_steps: the number of supervised steps is drawn from 1 to this.
        max_own_steps: the number of own steps is drawn from 0 to this.

    Raises:
        UserError: a share is negative, or all are 0.
    """

    def __init__(
        self,
        zero: float = 0.2,
        labels: float = 0.2,
        own: float = 0.6,
        max_label_steps: int = 5,
        max_own_steps: int = 20,
    ) -> None:
        shares = {"zero": zero, "labels": labels, "own": own}
        if min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise UserError(f"descent.start_states={shares}: shares must not be negative, nor all zero")
        self.shares = shares
        self.max_label_steps = max_label_steps
        self.max_own_steps = max_own_steps

    def draw(self, generator: random.Random) -> str:
        """One of ``zero``, ``labels``, ``own``, with the shares as probabilities."""
        return generator.choices(list(self.shares), weights=list(self.shares.values()))[0]

    def start(
        self,
        kind: str,
        step: DescentStep,
        features: tuple[Tensor, Tensor],
        targets: tuple[Tensor, Tensor],
        carried: Tensor,
        generator: random.Random,
        weights: Weights | None = None,
    ) -> Tensor:
        """The displacement to start from, (B, 3, I, J, K) in voxels, without gradient.

        Args:
            kind: result of ``draw``.
            step: the regularised step.
            features: fixed and moving features, (B, C, I, J, K) each.
            targets: fixed and moving target maps, (B, L, I, J, K) each.
            carried: (B, 3, I, J, K) in voxels, final displacement of the coarser pyramid level.
            generator: draws the number of steps.
            weights: of fixed and moving maps; None is 1 everywhere.
        """
        if kind == "zero":
            return carried.new_zeros(carried.shape)
        if kind == "labels":
            return descend(step, *targets, carried, generator.randint(1, self.max_label_steps), weights)
        detached = (features[0].detach(), features[1].detach())
        return descend(step, *detached, carried, generator.randint(0, self.max_own_steps), weights)
