"""Label maps that views are rendered from, and the protocol of their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError, non_negative

TISSUES = ("air", "gas", "lung", "fat", "soft", "fluid", "blood", "bone", "marrow", "any")
"""What is known of a region's contrast; ``any`` is nothing."""


@dataclass(frozen=True)
class LabelMap:
    """A map of regions.

    Attributes:
        regions: (I, J, K) whole numbers, an index of ``tissues`` each; RAS+ order.
        spacing: (3,) mm.
        tissues: one of ``TISSUES`` for each region, or with a material, as ``soft:muscle``: regions of one material
            look alike in most views.
        ground: another map over the same field of view, which shows where this one is region 0; None leaves region 0.
    """

    regions: NDArray[Any]
    spacing: NDArray[np.float64]
    tissues: Sequence[str]
    ground: LabelMap | None = None

    @property
    def extent(self) -> NDArray[np.float64]:
        """(3,) mm."""
        return np.array(self.regions.shape) * self.spacing

    @property
    def all_tissues(self) -> list[str]:
        """Of the regions that ``sample`` gives: those of the ground come after the own ones."""
        return [*self.tissues, *([] if self.ground is None else self.ground.all_tissues)]

    def sample(self, points: NDArray[np.float32]) -> NDArray[np.int16]:
        """Region at each point, the nearest voxel's; the border of the map goes on outside.

        Args:
            points: (3, ...) mm from the centre of the map.

        Returns:
            int16, the points' shape.
        """
        flat = np.zeros(points.shape[1:], np.int64)
        for axis, (n, step) in enumerate(zip(self.regions.shape, self.spacing, strict=True)):
            index = np.rint(points[axis] / np.float32(step) + np.float32((n - 1) / 2)).astype(np.int64)
            flat = flat * n + index.clip(0, n - 1)
        found: NDArray[np.int16] = self.regions.reshape(-1)[flat].astype(np.int16)
        if self.ground is None:
            return found
        return np.where(found == 0, len(self.tissues) + self.ground.sample(points), found).astype(np.int16)


class MapSource(Protocol):
    """Where label maps come from.

    Attributes:
        weight: how often it is drawn, relative to the others.
        zoom: smallest and largest magnification; at 1 a voxel of a patch has the data's working spacing in the map.
    """

    weight: float
    zoom: tuple[float, float]

    def prepare(self, cache: Path) -> None:
        """Compute and keep what ``draw`` reads."""
        ...

    def draw(self, rng: np.random.Generator, cache: Path) -> LabelMap:
        """A random map."""
        ...


def check_source(name: str, weight: float, zoom: Sequence[float]) -> tuple[float, float]:
    """The zoom as two numbers.

    Raises:
        UserError: the weight is negative, or the zoom is not two positive numbers in order.
    """
    non_negative(f"data.sources.{name}.weight", weight)
    if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1] < float("inf"):
        raise UserError(f"data.sources.{name}.zoom={list(zoom)}: must be two positive numbers, the smaller one first")
    return float(zoom[0]), float(zoom[1])


def check_length(name: str, value: float) -> float:
    """A length of a source, mm.

    Raises:
        UserError: it is not positive.
    """
    if not 0 < value < float("inf"):
        raise UserError(f"data.sources.{name}={value}: must be a positive number of mm")
    return float(value)


def compacted(array: NDArray[Any]) -> tuple[NDArray[Any], list[int]]:
    """A label map with the numbers 0, 1, 2 ... in the smallest type, 0 for label 0; and the label of each number.

    Raises:
        UserError: it has more labels than int16 holds.
    """
    ids = [0, *(int(i) for i in np.unique(array) if i != 0)]
    if len(ids) > 2**14:
        raise UserError(f"a label map with {len(ids)} labels: at most {2**14} can be rendered")
    order = np.argsort(ids)
    found = order[np.searchsorted(np.array(ids)[order], array)]
    return found.astype(np.uint8 if len(ids) < 256 else np.int16), ids
