"""Loaders of numbered pairs: which items an epoch, a process and a resumed training see."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmreg_lightning.data.loaders import PairLoaders
from mmreg_lightning.errors import UserError


class Numbers(PairLoaders):
    """Items that are their number."""

    def setup(self, stage=None):
        self.train_set = range(10_000)
        self.val_set = range(3)


def loop(epochs=0, ready=1, seen=0):
    progress = SimpleNamespace(current=SimpleNamespace(processed=epochs, ready=ready))
    batches = SimpleNamespace(current=SimpleNamespace(processed=seen))
    return SimpleNamespace(epoch_progress=progress, epoch_loop=SimpleNamespace(batch_progress=batches))


def shown(data):
    return torch.cat(list(data.train_dataloader())).tolist()


def build(rank=0, world=1, **progress):
    data = Numbers(batch_size=2, samples_per_epoch=7, num_workers=0)
    data.setup()
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, fit_loop=loop(**progress))
    return data


def test_an_epoch_begins_where_the_last_one_ended():
    assert shown(build()) == list(range(7))
    assert shown(build(epochs=2, ready=2)) == list(range(14, 21))


def test_a_resumed_training_sees_the_rest_of_its_epoch():
    assert shown(build(epochs=1, ready=2, seen=3)) == [13]


def test_processes_share_the_pairs():
    parts = [shown(build(rank, 2)) for rank in range(2)]
    assert [len(part) for part in parts] == [4, 4] and set(parts[0]) | set(parts[1]) == set(range(7))
    data = build(1, 2)
    assert data.batches_per_epoch(2) == 2 and data.batches_per_epoch(1) == 4
    assert [int(batch) for batch in data.val_dataloader()] == [1]
    assert [int(batch) for batch in build(3, 4).val_dataloader()] == [0, 1, 2], "fewer pairs than processes"


@pytest.mark.parametrize("key", ["batch_size", "samples_per_epoch"])
def test_a_count_below_1(key):
    with pytest.raises(UserError, match=f"^data.{key}=0"):
        Numbers(**{"batch_size": 1, "samples_per_epoch": 1, "num_workers": 0, key: 0})
