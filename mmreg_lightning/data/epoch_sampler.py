"""Which items an epoch shows, and to which process."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Items ``epoch * length`` to ``(epoch + 1) * length - 1``, shared out among the processes in turn.

    Lightning calls ``set_epoch`` before each epoch, also in a resumed run: the items that a training sees depend on the
    number of the epoch and on nothing else.

    Args:
        length: items an epoch, of all processes together.
        rank, world_size: of this process, and of how many.
        endless: False begins every epoch at item 0, and a process may get one item less than another; True gives every
            process equally many, the last ones twice where the length is no multiple.
    """

    def __init__(self, length: int, rank: int = 0, world_size: int = 1, endless: bool = True) -> None:
        self.length = length
        self.rank = rank
        self.world_size = world_size
        self.endless = endless
        self.epoch = 0
        self._first = (0, 0)  # an epoch, and the place in it to begin at

    def start_at(self, epoch: int, place: int) -> None:
        """Choose the epoch that is shown next, of which a resumed training has seen so many items of this process."""
        self.epoch = epoch
        self._first = (epoch, place)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is shown next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if not self.endless:
            yield from range(self.rank, self.length, self.world_size)
            return
        epoch, first = self._first
        for place in range(first if epoch == self.epoch else 0, len(self)):
            yield self.epoch * self.length + (self.rank + place * self.world_size) % self.length

    def __len__(self) -> int:
        if not self.endless:
            return len(range(self.rank, self.length, self.world_size))
        return -(-self.length // self.world_size)
