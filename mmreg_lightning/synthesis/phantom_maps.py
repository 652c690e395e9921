"""The tissues of the procedural phantom as label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.phantom.anatomy import Anatomy
from mmreg_lightning.phantom.layers import KEEP, LABELS
from mmreg_lightning.synthesis.label_map import LabelMap
from mmreg_lightning.synthesis.painted_maps import PaintedMaps

SHAPE, SPACING = (192, 160, 208), 2.0  # voxels, mm: the trunk and some air
CLASSES = {
    "air": "air", "skin": "soft", "fat": "fat", "visceral fat": "fat", "muscle": "soft", "cortical bone": "bone",
    "marrow": "marrow", "disc": "soft", "spinal fluid": "fluid", "spinal cord": "soft", "lung": "lung",
    "myocardium": "soft", "liver": "soft", "spleen": "soft", "renal cortex": "soft", "renal medulla": "soft",
    "urine": "fluid", "stomach wall": "soft", "stomach content": "any", "gas": "gas", "bile": "fluid",
    "pancreas": "soft", "arterial blood": "blood", "venous blood": "blood", "bowel wall": "soft",
    "bowel content": "any", "stool": "any",
}  # fmt: skip
"""One of ``TISSUES`` for each tissue of the phantom."""
_NAMES = list(CLASSES)


class PhantomMaps(PaintedMaps):
    """Random subjects of the phantom; a region is a tissue of an organ, as the veins of the liver.

    Args:
        subjects, weight, zoom: see ``PaintedMaps``.
        seed: of the subjects; that of mmreg-phantom for the same numbers would be the same anatomies.

    Raises:
        UserError: an argument is out of range.
    """

    source = "phantom"
    kept_as = ("phantom_maps", ".npy")

    def __init__(
        self, subjects: int = 24, weight: float = 1.0, zoom: Sequence[float] = (0.3, 1.2), seed: int = 1600
    ) -> None:
        super().__init__(subjects, weight, zoom, seed)

    def paint(self, rng: np.random.Generator, stream: BinaryIO) -> None:
        """Some seconds."""
        np.save(stream, paint_regions(rng))

    def read(self, file: Path) -> LabelMap:
        """See ``PaintedMaps``."""
        codes = np.load(file)
        present, regions = np.unique(codes, return_inverse=True)
        names = [_NAMES[code // len(LABELS)] for code in present]
        tissues = [f"{CLASSES[name]}:{name}" for name in names]
        return LabelMap(regions.reshape(codes.shape).astype(np.uint8), np.full(3, SPACING), tissues)


def paint_regions(rng: np.random.Generator) -> NDArray[np.int16]:
    """A random anatomy on ``SHAPE`` voxels of ``SPACING`` mm: tissue (in the order of ``CLASSES``) x labels + label."""
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * SPACING for n in SHAPE]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).astype(np.float32)
    layers, _ = Anatomy(rng).sample(points)
    tissue, label = np.zeros(points.shape[1], np.int16), np.zeros(points.shape[1], np.int16)
    for layer in layers:
        inside = layer.index[layer.distance < 0]
        tissue[inside] = _NAMES.index(layer.tissue)
        if layer.label != KEEP:
            label[inside] = layer.label
    codes: NDArray[np.int16] = (tissue * len(LABELS) + label).reshape(SHAPE)
    return codes
