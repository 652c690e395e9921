"""Layers of tissue, from which labels and intensities are rendered back to front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

LABELS: dict[int, str] = dict(
    enumerate((
        "background", "liver", "spleen", "right kidney", "left kidney", "stomach", "gall bladder", "pancreas", "aorta",
        "inferior vena cava", "vertebral column", "right psoas", "left psoas", "lungs", "subcutaneous fat",
    ))
)  # fmt: skip
"""Stable label ids of the phantom and their names."""
LABEL_IDS: dict[str, int] = {name: number for number, name in LABELS.items()}
KEEP = -1
"""Label of a layer that changes the tissue but not the label, such as vessels inside an organ."""


@dataclass(frozen=True)
class Layer:
    """One tissue, rendered over the layers before it.

    Attributes:
        tissue: key of the renderers' intensity tables.
        index: (M,) flat indices of the points that the layer may change.
        distance: (M,) signed distance of these points, mm, negative inside.
        label: label id of the points inside, or ``KEEP``.
    """

    tissue: str
    index: np.ndarray
    distance: np.ndarray
    label: int = 0


def paint_labels(layers: Iterable[Layer], count: int) -> np.ndarray:
    """Labels (count,) uint8: each point has the label of the last layer that contains it."""
    labels = np.zeros(count, np.uint8)
    for layer in layers:
        if layer.label != KEEP:
            labels[layer.index[layer.distance < 0]] = layer.label
    return labels


def paint_intensity(
    layers: Iterable[Layer],
    count: int,
    intensity: Mapping[str, float],
    grain: Mapping[str, float],
    texture: np.ndarray,
    edge_mm: float,
) -> np.ndarray:
    """Intensities (count,) float32 with partial volume.

    Args:
        layers: layers from back to front.
        count: number of points.
        intensity: mean intensity by tissue.
        grain: amplitude of the texture by tissue; 0 for a tissue that is not named.
        texture: (count,) texture of unit variance.
        edge_mm: voxel size, over which a boundary is a linear ramp (partial volume of a plane).
    """
    image = np.full(count, intensity["air"], np.float32)
    for layer in layers:
        touched = layer.distance < edge_mm / 2
        index = layer.index[touched]
        share = np.minimum(np.float32(0.5) - layer.distance[touched] / np.float32(edge_mm), 1)
        value = np.float32(intensity[layer.tissue])
        amplitude = grain.get(layer.tissue, 0.0)
        if amplitude:
            value = value + np.float32(amplitude) * texture[index]
        behind = image[index]
        image[index] = behind + share * (value - behind)
    return image
