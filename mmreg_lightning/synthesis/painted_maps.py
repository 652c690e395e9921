"""Label maps of random subjects, which are painted once and kept as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from mmreg_lightning.errors import non_negative_int, positive_int
from mmreg_lightning.files import atomic_path, ensure_output_dir
from mmreg_lightning.synthesis.label_map import LabelMap, check_source


class PaintedMaps(ABC):
    """A ``MapSource`` of numbered subjects; a subclass paints one, and reads it again.

    Args:
        subjects: number of them.
        weight, zoom: see ``MapSource``.
        seed: of the subjects.

    Attributes:
        source: name in ``data.sources``, for messages.
        kept_as: beginning of the cache folder's name, and ending of the file of a subject.

    Raises:
        UserError: an argument is out of range.
    """

    source: ClassVar[str]
    kept_as: ClassVar[tuple[str, str]]

    def __init__(self, subjects: int, weight: float, zoom: Sequence[float], seed: int) -> None:
        self.subjects = positive_int(f"data.sources.{self.source}.subjects", subjects)
        self.seed = non_negative_int(f"data.sources.{self.source}.seed", seed)
        self.weight = weight
        self.zoom = check_source(self.source, weight, zoom)
        self._loaded: dict[int, LabelMap] = {}

    @abstractmethod
    def paint(self, rng: np.random.Generator, stream: BinaryIO) -> None:
        """Write a random subject."""

    @abstractmethod
    def read(self, file: Path) -> LabelMap:
        """What ``paint`` has written."""

    def _file(self, cache: Path, subject: int) -> Path:
        name, ending = self.kept_as
        return cache / f"{name}_{self.seed}" / f"{subject:04d}{ending}"

    def prepare(self, cache: Path) -> None:
        """Paint the subjects that are not there yet."""
        for subject in range(self.subjects):
            file = self._file(cache, subject)
            if not file.exists():
                ensure_output_dir(file.parent)
                with atomic_path(file) as temporary, open(temporary, "wb") as stream:
                    self.paint(np.random.default_rng([self.seed, subject]), stream)

    def draw(self, rng: np.random.Generator, cache: Path) -> LabelMap:
        """See ``MapSource``."""
        subject = int(rng.integers(self.subjects))
        if subject not in self._loaded:
            self._loaded[subject] = self.read(self._file(cache, subject))
        return self._loaded[subject]
