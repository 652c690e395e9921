"""Rendering of an MR image with random contrast, bias field, thick slices and Rician noise."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.layers import Layer, paint_intensity
from mmreg_lightning.phantom.noise import SmoothField

# Relative signal of each tissue in a T1- and in a T2-weighted sequence.
SIGNAL = {
    "air": (0.0, 0.0), "skin": (0.45, 0.35), "fat": (0.95, 0.80), "visceral fat": (0.92, 0.76), "muscle": (0.38, 0.22),
    "cortical bone": (0.06, 0.05), "marrow": (0.62, 0.45), "disc": (0.34, 0.62), "spinal fluid": (0.16, 0.98),
    "spinal cord": (0.46, 0.44), "lung": (0.06, 0.08), "myocardium": (0.44, 0.36), "liver": (0.58, 0.30),
    "spleen": (0.36, 0.62), "renal cortex": (0.50, 0.60), "renal medulla": (0.34, 0.78), "urine": (0.12, 1.0),
    "stomach wall": (0.42, 0.42), "stomach content": (0.22, 0.85), "gas": (0.02, 0.02), "bile": (0.25, 0.96),
    "pancreas": (0.64, 0.44), "arterial blood": (0.20, 0.12), "venous blood": (0.28, 0.50), "bowel wall": (0.42, 0.40),
    "bowel content": (0.26, 0.84), "stool": (0.45, 0.35),
}  # fmt: skip
GRAIN = {
    "fat": 0.05, "visceral fat": 0.07, "muscle": 0.05, "marrow": 0.07, "lung": 0.02, "liver": 0.04, "spleen": 0.04,
    "renal cortex": 0.04, "pancreas": 0.07, "stomach content": 0.07, "bowel content": 0.08, "stool": 0.12,
    "myocardium": 0.04, "disc": 0.05,
}  # fmt: skip
FATTY = ("fat", "visceral fat", "marrow")
DARK = ("air", "gas", "lung", "cortical bone")


def random_contrast(rng: np.random.Generator) -> dict[str, float]:
    """Mean signal by tissue: random T1 and T2 weighting, fat suppression and blood enhancement.

    Every soft tissue also varies on its own, so the order of the organs' intensities changes between subjects.
    """
    weighting = rng.beta(0.6, 0.6)
    signal = {tissue: (1 - weighting) * t1 + weighting * t2 for tissue, (t1, t2) in SIGNAL.items()}
    if rng.random() < 0.4:
        suppression = rng.uniform(0.12, 0.4)
        signal.update({tissue: signal[tissue] * suppression for tissue in FATTY})
    if rng.random() < 0.4:
        enhanced = rng.uniform(0.3, 0.6)
        uptake = {"arterial blood": 1.1, "venous blood": 1.0, "renal cortex": 0.7, "liver": 0.4, "spleen": 0.5}
        signal.update({tissue: signal[tissue] + enhanced * share for tissue, share in uptake.items()})
    for tissue in signal:
        if tissue not in DARK:
            signal[tissue] = float(np.clip(signal[tissue] + rng.uniform(-0.13, 0.13), 0.05, 1.2))
    # Both kinds of fat have about one signal.
    signal["visceral fat"] = signal["fat"] * 0.97
    return signal


def slice_profiles(count: int, spacing: float, thickness: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that average ``count`` voxels into S thick slices, (S, count), and interpolate them back, (count, S).

    Both are the identity for slices that are not thicker than a voxel.
    """
    if thickness <= spacing:
        return np.eye(count, dtype=np.float32), np.eye(count, dtype=np.float32)
    position = (np.arange(count) + 0.5) * spacing
    slices = max(2, round(count * spacing / thickness))
    pitch = count * spacing / slices
    centres = (np.arange(slices) + 0.5) * pitch
    profile = np.exp(-0.5 * ((position[None] - centres[:, None]) / (pitch / 2.355)) ** 2)
    profile /= profile.sum(axis=1, keepdims=True)
    offset = np.clip((position - centres[0]) / pitch, 0, slices - 1)
    back = np.clip(1 - np.abs(offset[:, None] - np.arange(slices)[None]), 0, 1)
    return profile.astype(np.float32), back.astype(np.float32)


def render_mr(
    layers: list[Layer],
    texture: np.ndarray,
    points: np.ndarray,
    shape: tuple[int, int, int],
    spacing: np.ndarray,
    contrast_rng: np.random.Generator,
    noise_rng: np.random.Generator,
) -> np.ndarray:
    """MR image (I, J, K) float32, fat or fluid at about 1000, never negative.

    Args:
        layers, texture: result of ``Anatomy.sample`` at the voxel centres, flat in C order.
        points: (3, I*J*K) world mm of the voxel centres, at which the bias field is evaluated.
        shape: I, J, K.
        spacing: (3,) voxel size in mm.
        contrast_rng: draws contrast, bias field and acquisition, independently of the grid.
        noise_rng: draws the noise.
    """
    signal = random_contrast(contrast_rng)
    texture_sign = contrast_rng.choice([-1.0, 1.0])
    grain = {tissue: texture_sign * amplitude for tissue, amplitude in GRAIN.items()}
    bias = SmoothField(contrast_rng, length=70, period=560)
    bias_strength = contrast_rng.uniform(0.08, 0.22)
    axis = int(contrast_rng.choice([1, 2]))  # coronal or axial slices
    thickness = contrast_rng.uniform(5, 9)
    sigma = contrast_rng.uniform(0.015, 0.04)

    edge = float(np.cbrt(np.prod(spacing)))
    image = paint_intensity(layers, int(np.prod(shape)), signal, grain, texture, edge)
    image = np.maximum(image, 0) * np.exp(np.float32(bias_strength) * bias(points)[0])
    profile, back = slice_profiles(shape[axis], float(spacing[axis]), thickness)
    stack = np.tensordot(profile, image.reshape(shape), axes=(1, axis))
    real = stack + np.float32(sigma) * noise_rng.standard_normal(stack.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * noise_rng.standard_normal(stack.shape, dtype=np.float32)
    stack = np.sqrt(real * real + imaginary * imaginary)
    return np.moveaxis(np.tensordot(back, stack, axes=(1, 0)), 0, axis) * np.float32(1000)
