"""Rendering of a CT image in Hounsfield units."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mmreg_lightning.phantom.layers import Layer, paint_intensity

# Hounsfield units without contrast agent, and the enhancement by a full dose in the portal venous phase.
PLAIN = {
    "air": -1000, "skin": 10, "fat": -105, "visceral fat": -98, "muscle": 50, "cortical bone": 480, "marrow": 190,
    "disc": 85, "spinal fluid": 12, "spinal cord": 38, "lung": -820, "myocardium": 48, "liver": 58, "spleen": 50,
    "renal cortex": 36, "renal medulla": 32, "urine": 6, "stomach wall": 42, "stomach content": 18, "gas": -850,
    "bile": 8, "pancreas": 42, "arterial blood": 44, "venous blood": 42, "bowel wall": 42, "bowel content": 20,
    "stool": 10,
}  # fmt: skip
UPTAKE = {
    "muscle": 12, "marrow": 20, "skin": 15, "myocardium": 60, "liver": 48, "spleen": 66, "renal cortex": 130,
    "renal medulla": 95, "stomach wall": 45, "pancreas": 52, "arterial blood": 110, "venous blood": 125,
    "bowel wall": 50,
}  # fmt: skip
SPREAD = {"liver": 6, "spleen": 5, "pancreas": 6, "stomach content": 25, "bowel content": 25, "stool": 40, "marrow": 30}
GRAIN = {
    "fat": 7, "visceral fat": 12, "muscle": 8, "marrow": 45, "lung": 45, "liver": 7, "spleen": 6, "renal cortex": 8,
    "pancreas": 12, "stomach content": 14, "bowel content": 16, "stool": 70, "myocardium": 8, "disc": 8,
}  # fmt: skip


def render_ct(
    layers: list[Layer],
    texture: np.ndarray,
    shape: tuple[int, int, int],
    spacing: np.ndarray,
    contrast_rng: np.random.Generator,
    noise_rng: np.random.Generator,
) -> np.ndarray:
    """CT image (I, J, K) float32 in HU: random contrast agent, partial volume, correlated noise.

    Args:
        layers, texture: result of ``Anatomy.sample`` at the voxel centres, flat in C order.
        shape: I, J, K.
        spacing: (3,) voxel size in mm.
        contrast_rng: draws the tissue means, independently of the grid.
        noise_rng: draws the noise.
    """
    dose = contrast_rng.choice([0.0, 1.0], p=[0.2, 0.8]) * contrast_rng.uniform(0.4, 1.0)
    intensity = {
        tissue: hu + dose * UPTAKE.get(tissue, 0) + SPREAD.get(tissue, 2) * contrast_rng.uniform(-1, 1)
        for tissue, hu in PLAIN.items()
    }
    sigma = contrast_rng.uniform(9, 18)
    edge = float(np.cbrt(np.prod(spacing)))
    image = paint_intensity(layers, int(np.prod(shape)), intensity, GRAIN, texture, edge).reshape(shape)
    noise = noise_rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, 0.6, truncate=2)
    image += noise * np.float32(sigma / noise.std())
    return np.maximum(image, -1024)
