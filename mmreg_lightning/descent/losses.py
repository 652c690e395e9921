"""Losses of the unrolled descent and of the warm-up, and the cosine that measures how well the descent is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.descent.unrolled import UnrolledStep
from mmreg_lightning.functional.labels import IGNORED, one_hot
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.functional.warp import warp

EPS = 1e-6


def mean_cosine(update: Tensor, target: Tensor) -> Tensor:
    """Cosine between learned and target step, averaged over voxels with weight |target|: a scalar in [-1, 1].

    A voxel whose learned step is 0 counts as cosine 0.

    Args:
        update, target: (B, 3, I, J, K) in voxels.
    """
    # |d| |d*| cos = d . d*, so the weighted cosine is d . d* / |d| summed and divided by the weights' sum.
    norm = update.square().sum(1).add(EPS**2).sqrt()
    along = (update * target).sum(1) / norm
    return along.sum() / target.norm(dim=1).sum().clamp_min(EPS)


def soft_dice(a: Tensor, b: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of ``2 sum(a b) / (sum a^2 + sum b^2)`` over the channels that are not empty in both.

    Args:
        a, b: (B, L, I, J, K) in [0, 1].
        counted: (B, L) bool, channels to average over; None is all.
    """
    overlap = 2 * (a * b).flatten(2).sum(2)
    size = (a.square() + b.square()).flatten(2).sum(2)
    present = size > EPS if counted is None else (size > EPS) & counted
    return (overlap / size.clamp_min(EPS))[present].mean() if present.any() else a.new_ones(())


class DescentLoss(Protocol):
    """A scalar loss of the unrolled steps."""

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        """The loss, averaged over the steps; ``targets`` are the fixed and moving target maps, (B, L, I, J, K) each."""
        ...


class MagnitudeDirectionLoss(DescentLoss):
    """``magnitude * mean|d - d*|_1 / mean|d*|_1 + direction * (1 - mean cosine)``."""

    def __init__(self, magnitude: float = 1.0, direction: float = 1.0) -> None:
        self.magnitude = magnitude
        self.direction = direction

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        total = _zero(steps)
        for step in _supervised(steps):
            size = (step.update - step.target).abs().mean() / step.target.abs().mean()
            direction = 1 - mean_cosine(step.update, step.target)
            total = total + self.magnitude * size + self.direction * direction
        return total / len(steps)


class MSELoss(DescentLoss):
    """Mean squared error of the steps, divided by the mean square of the target steps."""

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        total = _zero(steps)
        for step in _supervised(steps):
            total = total + (step.update - step.target).square().mean() / step.target.square().mean()
        return total / len(steps)


class WarpedLabelDiceLoss(DescentLoss):
    """Soft Dice loss of the target maps warped by the unrolled displacement.

    Source: the end-to-end variant of Blendowski, Hansen and Heinrich, Med. Image Anal. 67 (2021) 101822.
    """

    def __call__(self, steps: Sequence[UnrolledStep], targets: tuple[Tensor, Tensor]) -> Tensor:
        fixed, moving = targets
        losses = []
        for step in steps:
            maps = fixed, warp(moving, step.displacement)
            losses.append(1 - soft_dice(*(maps if step.weight is None else (x * step.weight for x in maps))))
        return torch.stack(losses).mean() + _zero(steps)


def organ_loss(
    logits: Tensor, labels: Tensor, ids: Sequence[int], stride: int, labelled: Tensor | None = None
) -> Tensor:
    """The warm-up's loss: cross-entropy plus soft Dice of the first L latent classes against the L organs, a scalar.

    All further classes together stand for the background. Labels are averaged over feature voxels, so the target
    of a voxel on an organ's border is a mixture. Voxels that are ``IGNORED`` do not count.

    What is background in an image that lacks an organ's label may be that organ: there its class is one of those that
    together stand for the background (marginal loss; Shi et al., Med. Image Anal. 70 (2021) 101979), and the organ's
    Dice leaves the image out.

    Args:
        logits: (B, C, I / stride, J / stride, K / stride) with C > L.
        labels: (B, 1, I, J, K) integers.
        ids: label ids of the L organs, in the order of the channels.
        stride: image voxels to one voxel of the logits.
        labelled: (B, L) bool, the organs that are labelled in each image; None is all.
    """
    organs = len(ids)
    target = pool(one_hot(labels, ids), stride)
    counted = 1 - pool((labels == IGNORED).float(), stride)
    background = counted - target.sum(1, keepdim=True)
    log_p = logits.log_softmax(dim=1)
    if labelled is None or labelled.all():
        log_background = log_p[:, organs:].logsumexp(dim=1, keepdim=True)
    else:
        known = F.pad(labelled, (0, log_p.shape[1] - organs)).view(*log_p.shape[:2], 1, 1, 1)
        log_background = log_p.masked_fill(known, -torch.inf).logsumexp(dim=1, keepdim=True)
    cross_entropy = -(target * log_p[:, :organs]).sum(1, keepdim=True) - background * log_background
    dice = soft_dice(log_p[:, :organs].exp() * counted, target, labelled)
    return cross_entropy.mean() / counted.mean().clamp_min(EPS) + 1 - dice


def _supervised(steps: Sequence[UnrolledStep]) -> list[UnrolledStep]:
    """The steps with a target: patches without a common organ have none."""
    return [step for step in steps if bool(step.target.abs().mean() > EPS)]


def _zero(steps: Sequence[UnrolledStep]) -> Tensor:
    """A zero with a gradient of zero, so that a batch without any target can be differentiated."""
    return 0 * steps[-1].displacement.sum()
