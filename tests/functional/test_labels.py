"""Indicators and squashed signed distances of label maps."""

from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import one_hot, signed_distance


@pytest.fixture
def halves():
    """Label 1 for i < 4 and label 2 beyond, (1, 1, 8, 6, 6)."""
    labels = torch.ones(1, 1, 8, 6, 6, dtype=torch.int64)
    labels[:, :, 4:] = 2
    return labels


def test_one_hot_is_the_indicator(halves):
    channels = one_hot(halves, (2, 1, 7))
    assert channels.shape == (1, 3, 8, 6, 6) and channels.dtype == torch.float32
    assert channels[0, 0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert channels[0, 1, :, 5, 5].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert channels[:, 2].abs().max() == 0


def test_smoothed_one_hot_of_one_voxel():
    labels = torch.zeros(1, 1, 9, 9, 9, dtype=torch.int64)
    labels[0, 0, 4, 4, 4] = 5
    channel = one_hot(labels, [5], sigma=1.0)[0, 0]
    # Weights exp(-t^2 / 2) for |t| <= 3.
    total = 1 + 2 * (math.exp(-0.5) + math.exp(-2) + math.exp(-4.5))
    assert channel[4, 4, 4].item() == pytest.approx(total**-3, rel=1e-5)
    assert channel[5, 4, 2].item() == pytest.approx(math.exp(-0.5 - 2) * total**-3, rel=1e-5)
    assert channel.sum().item() == pytest.approx(1, rel=1e-5)


def test_all_channels_sum_to_one(halves):
    torch.testing.assert_close(one_hot(halves, (1, 2), sigma=1.5).sum(1), torch.ones(1, 8, 6, 6))


def test_signed_distance_of_a_half_space(halves):
    # The border lies half a voxel beyond i = 3; the slope is 1 all the way across.
    distances = [3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5]
    expected = [0.5 + 0.5 * math.tanh(d / 2) for d in distances]
    channels = signed_distance(halves, (1, 2), tau=2.0)
    assert channels.shape == (1, 2, 8, 6, 6) and channels.dtype == torch.float32
    assert channels[0, 0, :, 3, 2].tolist() == pytest.approx(expected)
    torch.testing.assert_close(channels.sum(1), torch.ones(1, 8, 6, 6))


def test_signed_distance_is_euclidean():
    labels = torch.zeros(1, 9, 9, 9, dtype=torch.int64)
    labels[0, 2, 3, 4] = 1
    channel = signed_distance(labels, [1], tau=4.0)[0, 0]
    assert channel[2, 3, 4].item() == pytest.approx(0.5 + 0.5 * math.tanh(0.5 / 4))
    assert channel[5, 7, 4].item() == pytest.approx(0.5 - 0.5 * math.tanh(4.5 / 4))  # 3, 4, 0 voxels away


def test_absent_label_is_zero_and_full_label_is_one():
    labels = torch.ones(1, 1, 4, 4, 4, dtype=torch.int64)
    channels = signed_distance(labels, (3, 1), tau=2.0)
    assert channels[:, 0].unique().tolist() == [0]
    assert channels[:, 1].unique().tolist() == [1]


def test_channel_axis_may_be_missing(halves):
    assert torch.equal(one_hot(halves[:, 0], (1, 2)), one_hot(halves, (1, 2)))
    assert torch.equal(signed_distance(halves[:, 0], (1, 2), 2.0), signed_distance(halves, (1, 2), 2.0))


def test_samples_stay_apart(halves):
    both = torch.cat([halves, 3 - halves])
    assert torch.equal(signed_distance(both, (1,), 2.0)[1:], signed_distance(3 - halves, (1,), 2.0))
    assert torch.equal(one_hot(both, (1,), 1.0)[1:], one_hot(3 - halves, (1,), 1.0))


def test_no_gradient(halves):
    assert not one_hot(halves.float().requires_grad_(), (1,), 1.0).requires_grad


def test_bad_input(halves):
    with pytest.raises(UserError, match="tau=0.0: must be above 0"):
        signed_distance(halves, (1,), 0.0)
    with pytest.raises(UserError, match=r"ids=\[\]: must name"):
        one_hot(halves, ())
    with pytest.raises(ValueError, match="shape"):
        one_hot(halves.expand(1, 2, 8, 6, 6), (1,))
