"""Losses on the unrolled descent, and its measure of agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mmreg_lightning.descent.unrolled import UnrolledStep
from mmreg_lightning.functional.warp import warp

EPS = 1e-6


def mean_cosine(update: Tensor, target: Tensor) -> Tensor:
    """Cosine between learned and supervised step, averaged over voxels with weight |target|: a scalar in [-1, 1].

    It is the number that says whether the features have learned the descent. Voxels in which the learned step
    vanishes count as 0.

    Args:
        update, target: (B, 3, I, J, K) in voxels.
    """
    # |d| |d*| cos = d . d*, so the weighted cosine is d . d* / |d| summed and divided by the weights' sum.
    norm = update.square().sum(1).add(EPS**2).sqrt()
    along = (update * target).sum(1) / norm
    return along.sum() / target.norm(dim=1).sum().clamp_min(EPS)


class DescentLoss(Protocol):
    """A scalar from the unrolled steps."""

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        """The loss, averaged over the steps; ``targets`` are the fixed and moving label functions (B, L, I, J, K)."""
        ...


class MagnitudeDirectionLoss:
    """``magnitude * mean|d - d*|_1 / (mean|d*| + eps) + direction * (1 - mean cosine)``.

    Args:
        magnitude, direction: weights of the two terms.
    """

    def __init__(self, magnitude: float = 1.0, direction: float = 1.0) -> None:
        self.magnitude = magnitude
        self.direction = direction

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        """See ``DescentLoss``."""
        total = _nothing(steps)
        for step in _taught(steps):
            size = (step.update - step.target).abs().mean() / step.target.abs().mean()
            direction = 1 - mean_cosine(step.update, step.target)
            total = total + self.magnitude * size + self.direction * direction
        return total / len(steps)


class MSELoss:
    """Mean squared error of the steps in squared voxels, divided by the targets' mean square."""

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        """See ``DescentLoss``."""
        total = _nothing(steps)
        for step in _taught(steps):
            total = total + (step.update - step.target).square().mean() / step.target.square().mean()
        return total / len(steps)


class WarpedLabelDiceLoss:
    """Soft Dice loss of the label functions warped by the unrolled displacement.

    The end-to-end variant of Blendowski, Hansen and Heinrich, Med. Image Anal. 67 (2021) 101822.
    """

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        """See ``DescentLoss``."""
        fixed, moving = targets
        losses = [1 - soft_dice(fixed, warp(moving, step.displacement)) for step in steps]
        return torch.stack(losses).mean() + _nothing(steps)


def _taught(steps: Sequence[UnrolledStep]) -> list[UnrolledStep]:
    """The steps that the labels say anything about: patches without a common organ have no direction to teach."""
    return [step for step in steps if bool(step.target.abs().mean() > EPS)]


def _nothing(steps: Sequence[UnrolledStep]) -> Tensor:
    """A zero with a gradient of zero, so that a batch without anything to learn from can be differentiated."""
    return 0 * steps[-1].displacement.sum()


def soft_dice(a: Tensor, b: Tensor) -> Tensor:
    """Mean soft Dice ``2 sum(a b) / (sum a^2 + sum b^2)`` over the channels that are not empty in either: a scalar.

    Args:
        a, b: (B, L, I, J, K) in [0, 1].
    """
    overlap = 2 * (a * b).flatten(2).sum(2)
    size = (a.square() + b.square()).flatten(2).sum(2)
    present = size > EPS
    return (overlap / size.clamp_min(EPS))[present].mean() if present.any() else a.new_ones(())
