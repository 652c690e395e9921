"""What all data of a training share: numbered training pairs, validation pairs, and their loaders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset

from mmreg_lightning.data.epoch_sampler import EpochSampler
from mmreg_lightning.errors import non_negative_int, positive_int
from mmreg_lightning.functional.intensity import Recipe


class PairLoaders(pl.LightningDataModule):
    """Training pairs without end and a few validation pairs; ``setup`` of a subclass builds both sets.

    Args:
        batch_size: pairs a training step.
        samples_per_epoch: pairs an epoch.
        num_workers: loader processes.

    Attributes:
        label_names: organ name of each label id.
        normalisation: intensity recipe of each modality.

    Raises:
        UserError: a count is out of range.
    """

    label_names: dict[int, str]
    normalisation: Mapping[str, Recipe]

    def __init__(self, batch_size: int, samples_per_epoch: int, num_workers: int) -> None:
        super().__init__()
        self.batch_size = positive_int("data.batch_size", batch_size)
        self.samples_per_epoch = positive_int("data.samples_per_epoch", samples_per_epoch)
        self.num_workers = non_negative_int("data.num_workers", num_workers)
        self.train_set: Dataset[Any] | None = None
        self.val_set: Dataset[Any] | None = None

    @property
    def modalities(self) -> list[str]:
        """Fixed and moving modality."""
        raise NotImplementedError

    def facts(self) -> tuple[dict[str, Any], str]:
        """What a training learns from: plain types for its record, and the lines that it begins with."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of paired patches; a resumed training sees first what it had not seen of its epoch."""
        rank, world = self._place()
        sampler = EpochSampler(self.samples_per_epoch, rank, world)
        if self.trainer is not None:
            sampler.start_at(*_progress(self.trainer.fit_loop, self.batches_per_epoch(world), self.batch_size))
        return self._loader(self.train_set, self.batch_size, self.num_workers, sampler)

    def batches_per_epoch(self, world_size: int) -> int:
        """Training batches an epoch, of each of so many processes."""
        return -(-len(EpochSampler(self.samples_per_epoch, 0, world_size)) // self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """One whole pair a batch; each process has its share of the pairs, where there is one for each."""
        assert self.val_set is not None, "setup() comes first"
        rank, world = self._place()
        pairs = len(self.val_set)  # type: ignore[arg-type]
        if pairs < world:
            rank, world = 0, 1
        return self._loader(self.val_set, 1, 0, EpochSampler(pairs, rank, world, endless=False))

    def _place(self) -> tuple[int, int]:
        """Rank of this process and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @staticmethod
    def _loader(data: Dataset[Any] | None, batch_size: int, workers: int, sampler: EpochSampler) -> DataLoader[Any]:
        assert data is not None, "setup() comes first"
        return DataLoader(
            data, batch_size=batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )


def _progress(loop: Any, batches: int, batch_size: int) -> tuple[int, int]:
    """Epoch that a training is in, and how many items of it a process has seen.

    Args:
        loop: the trainer's ``fit_loop``.
        batches: an epoch, of one process.
        batch_size: items a batch.
    """
    epochs, seen = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current.processed
    if epochs.processed >= epochs.ready:  # none is under way
        seen = 0
    return epochs.processed + seen // batches, seen % batches * batch_size
