from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.evaluation.dice import dice_per_label, mean_dice, registered_dice
from mmreg_lightning.functional.labels import IGNORED


def test_dice_of_hand_made_maps() -> None:
    a = torch.tensor([[1, 1, 2, 0], [0, 3, 3, 3]])
    b = torch.tensor([[1, 2, 2, 0], [0, 0, 3, 3]])
    dice = dice_per_label(a, b, [1, 2, 3])
    # 2*1/(2+1), 2*1/(1+2), 2*2/(3+2)
    assert dice == {1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3), 3: pytest.approx(0.8)}


def test_absent_labels() -> None:
    a, b = torch.tensor([1, 1]), torch.tensor([2, 2])
    dice = dice_per_label(a, b, [1, 2, 99])
    assert dice[1] == dice[2] == 0
    assert math.isnan(dice[99])
    assert mean_dice(dice) == 0


def test_ignored_voxels_of_either_map_do_not_count() -> None:
    a = torch.tensor([1, 1, 1, 0, IGNORED])
    b = torch.tensor([1, IGNORED, 0, 0, 1])
    assert dice_per_label(a, b, [1]) == {1: pytest.approx(2 / 3)}  # one voxel of two and of one
    assert math.isnan(dice_per_label(torch.full((2,), IGNORED), torch.tensor([1, 1]), [1])[1])


def test_mean_leaves_out_nan() -> None:
    assert mean_dice({1: 0.5, 2: math.nan, 3: 1.0}) == 0.75
    assert math.isnan(mean_dice({1: math.nan}))
    assert math.isnan(mean_dice({}))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        dice_per_label(torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), [1])


def test_a_registration_that_is_not_finite_has_no_dice() -> None:
    labels = torch.zeros(1, 1, 4, 4, 4, dtype=torch.long)
    labels[..., 1:3] = 1
    u = torch.zeros(1, 3, 4, 4, 4)
    assert registered_dice(labels, labels, u, [1, 2]) == {1: 1.0}
    u[0, 0, 0, 0, 0] = math.nan
    dice = registered_dice(labels, labels, u, [1, 2])
    assert list(dice) == [1] and math.isnan(dice[1]) and math.isnan(mean_dice(dice))
