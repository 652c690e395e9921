"""Where the unrolled steps of a training step start."""

from __future__ import annotations

import random

from torch import Tensor

from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.unrolled import descend


class StartStates:
    """A mixture of the states at which a registration may find itself.

    Trained from zero or label-descent states only, features look fine by their loss and then drift in a full
    registration, because the states visited there are those of the features' own descent. So a share of the
    training steps starts on that path.

    Args:
        zero: share of steps that start from no displacement.
        labels: share that starts after a few steps of the labels' descent.
        own: share that starts after some steps of the current features' own descent.
        max_label_steps: the number of label steps is drawn from 1 to this.
        max_own_steps: the number of own steps is drawn from 0 to this.

    Raises:
        ValueError: shares are negative or sum to nothing.
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
            raise ValueError(f"descent.start_states={shares}: shares must not be negative, nor all zero")
        self.shares = shares
        self.max_label_steps = max_label_steps
        self.max_own_steps = max_own_steps

    def draw(self, generator: random.Random) -> str:
        """One of ``zero``, ``labels``, ``own``, with the shares' probabilities."""
        return generator.choices(list(self.shares), weights=list(self.shares.values()))[0]

    def start(
        self,
        kind: str,
        step: DescentStep,
        features: tuple[Tensor, Tensor],
        targets: tuple[Tensor, Tensor],
        carried: Tensor,
        generator: random.Random,
    ) -> Tensor:
        """The displacement to start from, without gradient.

        Args:
            kind: what ``draw`` gave.
            step: the regularised step.
            features: fixed and moving, each (B, C, I, J, K).
            targets: fixed and moving label functions, each (B, L, I, J, K).
            carried: (B, 3, I, J, K) in voxels, where the coarser pyramid level ended.
            generator: source of the number of steps.

        Returns:
            (B, 3, I, J, K) in voxels.
        """
        if kind == "zero":
            return carried.new_zeros(carried.shape)
        if kind == "labels":
            return descend(step, *targets, carried, generator.randint(1, self.max_label_steps))
        detached = (features[0].detach(), features[1].detach())
        return descend(step, *detached, carried, generator.randint(0, self.max_own_steps))
