"""The warm-up's loss: organ labels teach the latent classes what a tissue is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmreg_lightning.descent.losses import soft_dice
from mmreg_lightning.functional.labels import one_hot
from mmreg_lightning.functional.resize import pool


def organ_loss(logits: Tensor, labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
    """Cross-entropy plus soft Dice of the first ``len(ids)`` latent classes against the organs.

    All further classes together stand for the background, which they are free to share out among themselves.
    The labels are averaged over feature voxels, so a voxel on an organ's border asks for a mixture.

    Args:
        logits: (B, C, I / stride, J / stride, K / stride) with C > len(ids).
        labels: (B, 1, I, J, K) integers.
        ids: the organs' label ids, in the order of the channels.
        stride: of the logits' grid.

    Returns:
        A scalar.
    """
    organs = len(ids)
    target = pool(one_hot(labels, ids), stride)
    background = 1 - target.sum(1, keepdim=True)
    log_p = logits.log_softmax(dim=1)
    log_background = log_p[:, organs:].logsumexp(dim=1, keepdim=True)
    cross_entropy = -(target * log_p[:, :organs]).sum(1, keepdim=True) - background * log_background
    return cross_entropy.mean() + 1 - soft_dice(log_p[:, :organs].exp(), target)
