"""Ensembles of random shapes: anatomy without a scale and without names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.synthesis.fields import smooth_field
from mmreg_lightning.synthesis.label_map import LabelMap, check_length, check_source

_SIDE = 64


class ShapeMaps:
    """Space parted at random, with lumps and tubes in it.

    Each region of the parting is where one of many smooth random fields is the largest (as SynthMorph's shapes,
    Hoffmann et al., IEEE Trans. Med. Imaging 41 (2022) 543).

    Args:
        extent: side of the map's cube, mm.
        weight, zoom: see ``MapSource``.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, extent: float = 200.0, weight: float = 1.0, zoom: Sequence[float] = (0.5, 1.5)) -> None:
        self.extent = check_length("shapes.extent", extent)
        self.weight = weight
        self.zoom = check_source("shapes", weight, zoom)

    def prepare(self, cache: Path) -> None:
        """Nothing is kept."""

    def draw(self, rng: np.random.Generator, cache: Path) -> LabelMap:
        """See ``MapSource``."""
        regions = random_shapes(rng, _SIDE)
        tissues = ["any"] * (int(regions.max()) + 1)
        return LabelMap(regions, np.full(3, self.extent / _SIDE), tissues)


def random_shapes(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """A cube of ``side`` voxels parted into some 6 to 40 regions."""
    shape = (side, side, side)
    count = int(rng.integers(5, 17))
    fields = smooth_field(rng, shape, float(rng.uniform(side / 8, side / 3)), count)
    parts = fields.argmax(0)
    used = parts.unique()
    regions = torch.bucketize(parts, used).numpy().astype(np.uint8)
    number = len(used)
    points = np.stack(np.meshgrid(*[np.arange(side, dtype=np.float32)] * 3, indexing="ij"))
    wobble = smooth_field(rng, shape, side / 8, 1)[0].numpy() * np.float32(rng.uniform(0, 0.2))
    for _ in range(int(rng.integers(0, 24))):
        regions[lump(rng, points, side) + wobble < 1] = number
        number += 1
    return regions


def lump(rng: np.random.Generator, points: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Squared distance to the centre of an ellipsoid or the axis of a tube, in radii."""
    centre = rng.uniform(0, side, 3).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    radii = np.exp(rng.uniform(np.log(side / 32), np.log(side / 6), 3)).astype(np.float32)
    if rng.random() < 0.35:  # a tube
        radii = np.array([2 * side, radii[1], radii[1] * rng.uniform(0.7, 1.4)], np.float32)
    local = np.tensordot(turn / radii[:, None], points - centre[:, None, None, None], axes=1)
    distance: NDArray[np.float32] = np.square(local).sum(0)
    return distance
