"""Losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from shapes import cubes

from mmreg_lightning.descent.losses import (
    MagnitudeDirectionLoss,
    MSELoss,
    WarpedLabelDiceLoss,
    mean_cosine,
    organ_loss,
    soft_dice,
)
from mmreg_lightning.descent.regularisers import GaussianRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.targets import OneHotTargets, paired_targets
from mmreg_lightning.descent.unrolled import UnrolledStep, unrolled_descent
from mmreg_lightning.functional.labels import IGNORED, one_hot
from mmreg_lightning.functional.resize import pool

NONE = (torch.empty(0), torch.empty(0))  # target maps, which only the Dice loss reads


def steps_of(update, target):
    return [UnrolledStep(update, target, update)]


@pytest.mark.parametrize(("factor", "cosine"), [(1.0, 1.0), (0.1, 1.0), (-1.0, -1.0), (0.0, 0.0)])
def test_mean_cosine_of_scaled_steps(factor, cosine):
    target = torch.rand(1, 3, 5, 5, 5) + 0.1
    assert mean_cosine(factor * target, target).item() == pytest.approx(cosine, abs=1e-4)


def test_mean_cosine_is_weighted_by_the_target():
    # |d*| = 3 where the angle is 0, and 1 where it is 90 degrees: 3 / 4.
    target, update = torch.zeros(2, 1, 3, 1, 1, 2)
    target[0, 0, 0, 0] = torch.tensor([3.0, 1.0])
    update[0, 0, 0, 0, 0], update[0, 1, 0, 0, 1] = 0.5, 0.5
    assert mean_cosine(update, target).item() == pytest.approx(0.75, abs=1e-4)


def test_mean_cosine_without_target_is_zero_and_differentiable():
    update = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)
    value = mean_cosine(update, torch.zeros(1, 3, 4, 4, 4))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(update.grad).all()


@pytest.mark.parametrize("loss", [MagnitudeDirectionLoss(), MSELoss()], ids=lambda x: type(x).__name__)
def test_loss_of_the_wanted_step_is_zero(loss):
    target = torch.rand(1, 3, 5, 5, 5) + 0.1
    assert loss(steps_of(target, target), NONE).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "opposite", "nothing"),
    [
        (MagnitudeDirectionLoss(), 4.0, 2.0),  # |-2 d*| / |d*| + 1 + 1; |d*| / |d*| + 1 - 0
        (MagnitudeDirectionLoss(magnitude=2.0, direction=0.0), 4.0, 2.0),
        (MagnitudeDirectionLoss(magnitude=0.0, direction=3.0), 6.0, 3.0),
        (MSELoss(), 4.0, 1.0),
    ],
)
def test_loss_of_opposite_and_of_no_step(loss, opposite, nothing):
    target = torch.rand(1, 3, 5, 5, 5) + 0.1
    assert loss(steps_of(-target, target), NONE).item() == pytest.approx(opposite, rel=1e-3)
    assert loss(steps_of(0 * target, target), NONE).item() == pytest.approx(nothing, rel=1e-3)


@pytest.mark.parametrize("loss", [MagnitudeDirectionLoss(), MSELoss()], ids=lambda x: type(x).__name__)
def test_loss_is_the_mean_of_the_steps(loss):
    target = torch.rand(1, 3, 5, 5, 5) + 0.1
    both = steps_of(target, target) + steps_of(-target, target)
    assert loss(both, NONE).item() == pytest.approx(loss(both[1:], NONE).item() / 2, rel=1e-3)


def test_soft_dice_closed_forms():
    a = torch.zeros(1, 3, 4, 4, 4)
    a[:, 0, :2] = 1
    b = torch.zeros_like(a)
    b[:, 0, 1:3] = 1
    assert soft_dice(a, a).item() == 1  # the empty channels are left out
    assert soft_dice(a, b).item() == pytest.approx(0.5)  # one plane of two
    assert soft_dice(0 * a, 0 * a).item() == 1


def test_warped_label_dice_falls_along_the_descent_of_the_labels():
    fixed, moving = cubes()
    targets = paired_targets(OneHotTargets(1.0), fixed, moving, [1], stride=1)
    step = DescentStep(GaussianRegulariser(1.0, 0.5))
    steps = unrolled_descent(step, *targets, *targets, torch.zeros(1, 3, 16, 16, 16), 5)
    values = [WarpedLabelDiceLoss()([s], targets).item() for s in steps]
    assert all(later < earlier for earlier, later in zip(values, values[1:], strict=False))
    assert values[-1] < 0.5 * (1 - soft_dice(*targets).item())


def test_organ_loss_of_perfect_logits():
    labels, _ = cubes()
    logits = torch.full((1, 4, 16, 16, 16), -20.0)
    logits[:, :1][labels == 1] = 20.0
    logits[:, 3:][labels == 0] = 20.0  # any of the further classes is background
    assert organ_loss(logits, labels, [1], stride=1).item() == pytest.approx(0, abs=1e-4)


def test_organ_loss_of_uniform_logits():
    # An eighth of the voxels is organ, C = 4: p = 1/4 of the organ and 3/4 of the background.
    labels, _ = cubes()
    cross_entropy = -(math.log(0.25) / 8 + 7 * math.log(0.75) / 8)
    n = 16**3
    dice = 2 * (n / 8 * 0.25) / (n * 0.25**2 + n / 8)
    loss = organ_loss(torch.zeros(1, 4, 16, 16, 16), labels, [1], stride=1)
    assert loss.item() == pytest.approx(cross_entropy + 1 - dice, rel=1e-4)


def random_batch():
    """Logits (2, 5, 8, 8, 8), and label maps with the organs 1 and 2."""
    labels = torch.zeros(2, 1, 16, 16, 16, dtype=torch.long)
    labels[:, :, 2:7], labels[:, :, 9:14] = 1, 2
    return torch.randn(2, 5, 8, 8, 8), labels


def test_organ_loss_of_a_fully_labelled_batch_is_the_same_to_the_bit():
    logits, labels = random_batch()
    target = pool(one_hot(labels, [1, 2]), 2)
    log_p = logits.log_softmax(1)
    background = 1 - target.sum(1, keepdim=True)
    entropy = -(target * log_p[:, :2]).sum(1, keepdim=True) - background * log_p[:, 2:].logsumexp(1, keepdim=True)
    expected = entropy.mean() + 1 - soft_dice(log_p[:, :2].exp(), target)
    everything = torch.ones(2, 2, dtype=torch.bool)
    for labelled in (None, everything):
        assert torch.equal(organ_loss(logits, labels, [1, 2], 2, labelled), expected)


def test_background_may_be_an_organ_that_is_not_labelled():
    # C = 4 and two organs: the background of an image without organ 2 is 3/4 of uniform logits, else 2/4.
    labels, _ = cubes()
    n, organ = 16**3, 16**3 / 8
    dice = 2 * (organ * 0.25) / (n * 0.25**2 + organ)
    for known, share, mean in ((False, 0.75, dice), (True, 0.5, dice / 2)):  # an absent organ has Dice 0
        labelled = torch.tensor([[True, known]])
        loss = organ_loss(torch.zeros(1, 4, 16, 16, 16), labels, [1, 2], 1, labelled)
        entropy = -(math.log(0.25) / 8 + 7 * math.log(share) / 8)
        assert loss.item() == pytest.approx(entropy + 1 - mean, rel=1e-4)


def test_each_image_of_a_batch_has_its_own_labelled_organs():
    logits, labels = random_batch()
    labels[1][labels[1] == 2] = 0
    logits.requires_grad_()
    organ_loss(logits, labels, [1, 2], 2, torch.tensor([[True, True], [True, False]])).backward()
    where = pool((labels == 0).float(), 2)[:, 0] == 1
    # Towards organ 2 in background: away from it where it is labelled, as towards any background where it is not.
    assert (logits.grad[0, 1][where[0]] > 0).all()
    assert (logits.grad[1, 1][where[1]] < 0).all()


def test_ignored_voxels_teach_nothing():
    logits, labels = random_batch()
    labels[:, :, 8:] = IGNORED
    logits.requires_grad_()
    loss = organ_loss(logits, labels, [1], 2)
    loss.backward()
    assert logits.grad[:, :, 4:].abs().max() == 0
    assert loss.item() == pytest.approx(organ_loss(logits[:, :, :4], labels[:, :, :8], [1], 2).item(), rel=1e-5)


def test_a_map_that_is_ignored_everywhere_has_a_finite_loss():
    loss = organ_loss(torch.randn(1, 3, 4, 4, 4), torch.full((1, 1, 8, 8, 8), IGNORED), [1], 2)
    assert torch.isfinite(loss)


def test_warped_label_dice_counts_by_weight():
    fixed, moving = torch.zeros(2, 1, 1, 8, 8, 8)
    fixed[:, :, :4], moving[:, :, :4] = 1, 1
    moving[:, :, 6:] = 1  # nothing there in the fixed image, but nobody knows
    still, weight = torch.zeros(1, 3, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    weight[:, :, 6:] = 0
    loss = WarpedLabelDiceLoss()
    assert loss([UnrolledStep(still, still, still, weight)], (fixed, moving)) == 0
    assert loss([UnrolledStep(still, still, still)], (fixed, moving)) > 0


def test_organ_loss_asks_for_mixtures_on_coarse_borders():
    labels, _ = cubes(0)
    shifted = torch.roll(labels, 1, dims=2)  # now half of a coarse voxel is organ at both ends
    logits = torch.zeros(1, 2, 8, 8, 8)
    logits[:, 0] = torch.where(torch.nn.functional.avg_pool3d(shifted.float(), 2)[:, 0] > 0.9, 9.0, -9.0)
    half = logits.clone()
    border = torch.nn.functional.avg_pool3d(shifted.float(), 2)[:, 0] == 0.5
    half[:, 0][border] = 0.0
    assert organ_loss(half, shifted, [1], stride=2) < organ_loss(logits, shifted, [1], stride=2)


@pytest.mark.parametrize(
    "loss", [MagnitudeDirectionLoss(), MSELoss(), WarpedLabelDiceLoss()], ids=lambda x: type(x).__name__
)
def test_patches_without_a_common_organ_teach_nothing(loss):
    update = torch.rand(1, 3, 4, 4, 4, requires_grad=True)
    empty = torch.zeros(1, 2, 4, 4, 4)
    value = loss(steps_of(update, torch.zeros(1, 3, 4, 4, 4)), (empty, empty))
    assert value == 0
    value.backward()
    assert update.grad.abs().max() == 0
