"""Which items an epoch shows, and to which process."""

from __future__ import annotations

import pytest

from mmreg_lightning.data.epoch_sampler import EpochSampler


def test_epochs_go_on_where_the_last_one_ended():
    sampler = EpochSampler(5)
    assert list(sampler) == [0, 1, 2, 3, 4] and len(sampler) == 5
    sampler.set_epoch(3)
    assert list(sampler) == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_an_epoch(world):
    samplers = [EpochSampler(6, rank, world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(2)
    shares = [list(sampler) for sampler in samplers]
    assert sorted(item for share in shares for item in share) == list(range(12, 18))
    assert {len(share) for share in shares} == {6 // world} == {len(sampler) for sampler in samplers}


def test_a_remainder_is_filled_up_for_training_only():
    shares = [list(EpochSampler(5, rank, 2)) for rank in range(2)]
    assert shares == [[0, 2, 4], [1, 3, 0]]
    once = [EpochSampler(5, rank, 2, endless=False) for rank in range(2)]
    once[0].set_epoch(9)
    assert [list(sampler) for sampler in once] == [[0, 2, 4], [1, 3]]
    assert [len(sampler) for sampler in once] == [3, 2]


def test_a_resumed_training_goes_on_in_the_middle_of_its_epoch():
    sampler = EpochSampler(4)
    sampler.start_at(2, 3)
    assert list(sampler) == [11] and len(sampler) == 4
    sampler.set_epoch(2)  # as Lightning does when it resumes
    assert list(sampler) == [11]
    sampler.set_epoch(3)
    assert list(sampler) == [12, 13, 14, 15]
    shares = [EpochSampler(6, rank, 2) for rank in range(2)]
    for share in shares:
        share.start_at(1, 2)
    assert [list(share) for share in shares] == [[10], [11]]
