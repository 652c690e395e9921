"""Bodies and limbs in air: skin, fat, muscles in compartments, bones with marrow, vessels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.synthesis.fields import smooth_field
from mmreg_lightning.synthesis.label_map import LabelMap, check_length
from mmreg_lightning.synthesis.painted_maps import PaintedMaps
from mmreg_lightning.synthesis.shape_maps import random_shapes

_SIDE = 80


class BodyMaps(PaintedMaps):
    """One or two long bodies, which are limbs, trunks or heads of no kind in particular.

    Args:
        extent: side of the map's cube, mm.
        subjects, weight, zoom, seed: see ``PaintedMaps``.

    Raises:
        UserError: an argument is out of range.
    """

    source = "bodies"
    kept_as = ("body_maps", ".npz")

    def __init__(
        self,
        subjects: int = 120,
        extent: float = 240.0,
        weight: float = 1.0,
        zoom: Sequence[float] = (0.4, 1.4),
        seed: int = 1600,
    ) -> None:
        super().__init__(subjects, weight, zoom, seed)
        self.extent = check_length("bodies.extent", extent)

    def paint(self, rng: np.random.Generator, stream: BinaryIO) -> None:
        """Half a second."""
        regions, tissues = paint_body(rng)
        np.savez_compressed(stream, regions=regions, tissues=np.array(tissues))

    def read(self, file: Path) -> LabelMap:
        """See ``PaintedMaps``."""
        with np.load(file) as kept:
            tissues = [str(name) for name in kept["tissues"]]
            return LabelMap(kept["regions"], np.full(3, self.extent / _SIDE), tissues)


def paint_body(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[str]]:
    """A random body: its regions (80, 80, 80), and the tissue of each."""
    canvas = _Canvas(rng)
    if rng.random() < 0.35:  # two limbs side by side
        for side in (-1, 1):
            centre = np.array([side * rng.uniform(0.2, 0.27), rng.uniform(-0.05, 0.05)])
            canvas.limb(centre, rng.uniform(0.12, 0.2))
    else:
        canvas.limb(rng.uniform(-0.08, 0.08, 2), rng.uniform(0.2, 0.42))
    return canvas.regions, canvas.tissues


class _Canvas:
    """A cube that bodies are painted into; lengths are shares of its side."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        shape = (_SIDE, _SIDE, _SIDE)
        self.regions = np.zeros(shape, np.uint8)
        self.tissues = ["air"]
        axis = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE - 0.5
        points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
        bend = smooth_field(rng, shape, _SIDE / 3, 3).numpy() * np.float32(rng.uniform(0, 0.03))
        ripple = smooth_field(rng, shape, _SIDE / 10, 3).numpy() * np.float32(rng.uniform(0, 0.008))
        self.points = points + bend + ripple

    def paint(self, inside: NDArray[np.bool_], tissue: str) -> None:
        self.regions[inside] = len(self.tissues)
        self.tissues.append(tissue)

    def tube(
        self, centre: NDArray[np.float64], radii: NDArray[np.float64], lean: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Distance to the axis of an elliptic tube along K, in radii."""
        u, v = (
            (self.points[axis] - np.float32(centre[axis]) - np.float32(lean[axis]) * self.points[2])
            / np.float32(radii[axis])
            for axis in (0, 1)
        )
        return np.sqrt(u * u + v * v)

    def limb(self, centre: NDArray[np.float64], size: float) -> None:
        rng = self.rng
        radii = size * np.exp(rng.uniform(-0.2, 0.2, 2))
        lean = rng.uniform(-0.15, 0.15, 2)
        outer = self.tube(centre, radii, lean)
        if rng.random() < 0.4:  # it tapers, or ends
            outer = outer * (1 + np.float32(rng.uniform(-0.8, 0.8)) * self.points[2])
        if rng.random() < 0.25:
            outer = np.maximum(outer, 1 + 4 * (np.abs(self.points[2]) - np.float32(rng.uniform(0.2, 0.45))))
        self.paint(outer < 1, "soft")  # skin
        self.paint(outer < 1 - rng.uniform(0.01, 0.05), "fat")
        flesh = outer < 1 - rng.uniform(0.05, 0.35)
        self._fill(flesh, centre, radii)
        for _ in range(int(rng.integers(1, 4))):
            self._bone(flesh, centre, radii, lean)
        for _ in range(int(rng.integers(0, 6))):
            place = centre + radii * rng.uniform(-0.6, 0.6, 2)
            thin = np.full(2, size) * rng.uniform(0.03, 0.1)
            self.paint(flesh & (self.tube(place, thin, lean + rng.uniform(-0.1, 0.1, 2)) < 1), "blood")
        for _ in range(int(rng.integers(0, 3))):  # masses, cysts, bags of fat
            place = np.append(centre + radii * rng.uniform(-0.6, 0.6, 2), rng.uniform(-0.4, 0.4)).astype(np.float32)
            radius = (size * np.exp(rng.uniform(-2.3, -0.7, 3))).astype(np.float32)
            ball = np.square((self.points - place[:, None, None, None]) / radius[:, None, None, None]).sum(0) < 1
            self.paint(flesh & ball, str(rng.choice(["soft", "soft", "fluid", "fat", "any"])))

    def _fill(self, flesh: NDArray[np.bool_], centre: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
        """Muscles between sheets of fat, or organs in fat."""
        rng = self.rng
        self.paint(flesh, str(rng.choice(["fat", "soft"], p=[0.6, 0.4])))
        if rng.random() < 0.6:  # sectors about the bone, which run along the limb
            u, v = ((self.points[axis] - np.float32(centre[axis])) / np.float32(radii[axis]) for axis in (0, 1))
            turn = np.arctan2(v, u) / (2 * np.pi) + 0.5 + np.float32(rng.uniform(-0.3, 0.3)) * self.points[2]
            count = int(rng.integers(3, 9))
            sector = (turn * count + np.float32(rng.uniform())) % count
            sheet = np.float32(rng.uniform(0.03, 0.12))
            ring = np.sqrt(u * u + v * v) > rng.uniform(0.25, 0.5)
            for number in range(count):
                own = flesh & (sector >= number + sheet) & (sector < number + 1)
                if rng.random() < 0.5:
                    self.paint(own & ring, "soft:muscle")
                    own = own & ~ring
                self.paint(own, "soft:muscle")
        else:
            parts = random_shapes(rng, _SIDE)
            for number in range(int(parts.max()) + 1):
                if rng.random() < 0.75:
                    self.paint(flesh & (parts == number), str(rng.choice(["soft", "soft", "soft", "fluid", "any"])))

    def _bone(
        self,
        flesh: NDArray[np.bool_],
        centre: NDArray[np.float64],
        radii: NDArray[np.float64],
        lean: NDArray[np.float64],
    ) -> None:
        rng = self.rng
        place = centre + radii * rng.uniform(-0.45, 0.45, 2)
        size = radii.mean() * rng.uniform(0.12, 0.3) * np.exp(rng.uniform(-0.2, 0.2, 2))
        bone = self.tube(place, size, lean + rng.uniform(-0.05, 0.05, 2))
        if rng.random() < 0.5:  # it ends in a joint
            end = np.float32(rng.uniform(-0.3, 0.3))
            bone = np.maximum(bone, 1 + (self.points[2] - end) * np.float32(rng.choice([-8, 8])))
        self.paint(flesh & (bone < 1), "bone")
        self.paint(flesh & (bone < rng.uniform(0.5, 0.85)), "marrow")
