"""Discrete search against hand-made costs and known shifts."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.functional.correlation import correlation_volume, coupled_convex, search_offsets


def test_offsets_are_all_displacements_within_the_radius() -> None:
    offsets = search_offsets(1)
    assert offsets.shape == (3, 27)
    assert offsets[:, 0].tolist() == [-1, -1, -1] and offsets[:, 13].tolist() == [0, 0, 0]
    assert offsets[:, 14].tolist() == [0, 0, 1]  # K is the fastest axis
    assert len(set(map(tuple, offsets.T.tolist()))) == 27


@pytest.mark.parametrize("shift", [(1, 0, -2), (0, 2, 1)])
def test_cost_of_the_true_shift_is_zero(shift: tuple[int, int, int]) -> None:
    fixed = torch.rand(1, 3, 14, 14, 14)
    moving = torch.roll(fixed, shift, (2, 3, 4))  # moving(x + shift) = fixed(x)
    cost = correlation_volume(fixed, moving, 2)
    offsets = search_offsets(2)
    true = int((offsets == torch.tensor(shift, dtype=torch.float32)[:, None]).all(0).nonzero())
    inner = (slice(5, -5),) * 3
    assert cost.shape == (125, 14, 14, 14)
    assert cost[(true, *inner)].abs().max() == 0
    assert (cost.argmin(0)[inner] == true).all()


def test_cost_of_constants_is_their_squared_difference_times_the_weight() -> None:
    fixed, moving = torch.full((1, 2, 5, 5, 5), 3.0), torch.ones(1, 2, 5, 5, 5)
    assert torch.equal(correlation_volume(fixed, moving, 1), torch.full((27, 5, 5, 5), 8.0))  # 2 channels of 2^2
    half = torch.full((1, 1, 5, 5, 5), 0.5)
    assert torch.equal(correlation_volume(fixed, moving, 1, half), torch.full((27, 5, 5, 5), 4.0))


def test_an_outlier_follows_its_neighbours() -> None:
    offsets = search_offsets(1)
    cost = torch.ones(27, 9, 9, 9)
    cost[22] = 0.0  # (1, 0, 0) is best everywhere
    cost[:, 4, 4, 4] = 0.5
    cost[4, 4, 4, 4] = 0.4  # but (-1, 0, 0) is a little better in one voxel
    found = coupled_convex(cost, offsets)[0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0, 0]).view(3, 1, 1, 1).expand(3, 9, 9, 9))
    free = coupled_convex(cost, offsets, coupling=[0.0])[0]  # the mean of 3^3 voxels, one of which goes the other way
    assert free[0, 4, 4, 4].item() == pytest.approx((26 - 1) / 27, abs=1e-6)


def test_a_radius_for_each_axis() -> None:
    assert torch.equal(search_offsets((1, 1, 1)), search_offsets(1))
    offsets = search_offsets((2, 1, 0))
    assert offsets.shape == (3, 15)
    assert offsets.abs().amax(1).tolist() == [2, 1, 0]
    fixed, moving = torch.rand(2, 1, 3, 8, 7, 4)
    cost = correlation_volume(fixed, moving, (2, 1, 0))
    every = correlation_volume(fixed, moving, 2)
    same = [int((search_offsets(2) == one[:, None]).all(0).nonzero()) for one in offsets.T]
    assert torch.equal(cost, every[same])
