"""Pairs of views of one label map, made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.synthesis.geometry import Geometry
from mmreg_lightning.synthesis.label_map import MapSource
from mmreg_lightning.synthesis.view import Views

_LEAST = 40
"""Voxels that a region needs in both patches to be one that the descent follows."""


class SyntheticPairs(Dataset[dict[str, Tensor | str]]):
    """Training pairs, numbered without end: item n is the same in every process, worker and resumed run.

    Args:
        sources: of label maps, by name.
        views: renders them.
        geometry: places them.
        cache: folder that the sources have prepared.
        side: voxels of a patch along each axis, S.
        spacing: working spacing, mm.
        regions: at most so many regions of a pair are labelled, drawn at random: the organs of the descent.
        length: pairs an epoch.
        seed: other seeds give other items.
        whole: items also have ``inside`` and ``name``, as pairs to validate on.
    """

    def __init__(
        self,
        sources: Mapping[str, MapSource],
        views: Views,
        geometry: Geometry,
        cache: Path,
        side: int,
        spacing: float,
        regions: int,
        length: int,
        seed: int,
        whole: bool = False,
    ) -> None:
        self.sources = {name: source for name, source in sources.items() if source.weight > 0}
        if not self.sources:
            raise UserError("data.sources: none has a weight above 0")
        weights = np.array([source.weight for source in self.sources.values()], float)
        self.shares = weights / weights.sum()
        self.views = views
        self.geometry = geometry
        self.cache = cache
        self.side = positive_int("data.patch_size", side)
        self.spacing = spacing
        self.regions = positive_int("data.regions", regions)
        self.length = length
        self.seed = seed
        self.whole = whole

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Two views and what is known of them.

        ``fixed``, ``moving`` (1, S, S, S) float32; ``fixed_labels``, ``moving_labels`` (1, S, S, S) int64, from 1 to
        ``regions``, 0 elsewhere, with equal numbers for equal regions; ``displacement`` (3, S, S, S) float32 in voxels:
        x in the fixed view is x + u(x) in the moving one; ``images``, the name of the source, for messages.

        Args:
            index: number of the item, 0 or more; it may exceed the length, which is that of an epoch.
        """
        rng = np.random.default_rng(np.random.SeedSequence([self.seed % 2**63, int(self.whole), index]))
        name = str(rng.choice(list(self.sources), p=self.shares))
        source = self.sources[name]
        label_map = source.draw(rng, self.cache)
        zoom = float(np.exp(rng.uniform(*np.log(source.zoom))))
        fixed, moving, displacement = self.geometry.draw(rng, label_map, self.side, self.spacing / zoom)
        tissues = label_map.all_tissues
        labels = self._labels(rng, fixed, moving, len(tissues))
        item: dict[str, Tensor | str] = {
            "fixed": self.views.render(rng, fixed, tissues),
            "moving": self.views.render(rng, moving, tissues),
            "fixed_labels": labels[0],
            "moving_labels": labels[1],
            "displacement": torch.from_numpy(displacement),
            "images": f"item {index} of the label maps '{name}'",
        }
        if self.whole:
            item |= {"name": f"{name}_{index}", "inside": torch.ones(1, *fixed.shape)}
        return item

    def _labels(
        self, rng: np.random.Generator, fixed: NDArray[np.int16], moving: NDArray[np.int16], count: int
    ) -> tuple[Tensor, Tensor]:
        sizes = [np.bincount(regions.ravel(), minlength=count) for regions in (fixed, moving)]
        shared = np.flatnonzero((sizes[0] >= _LEAST) & (sizes[1] >= _LEAST))
        chosen = rng.permutation(shared)[: self.regions]
        numbers = np.zeros(count, np.int64)
        numbers[chosen] = 1 + np.arange(len(chosen))
        return torch.from_numpy(numbers[fixed])[None], torch.from_numpy(numbers[moving])[None]
