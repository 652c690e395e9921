"""Smooth random fields on a grid of voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.functional.smooth import gaussian_smooth


def white_noise(rng: np.random.Generator, *shape: int) -> Tensor:
    """Normal deviates, float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def smooth_field(rng: np.random.Generator, shape: Sequence[int], length: float, channels: int = 1) -> Tensor:
    """Random fields of zero mean and unit variance, (channels, I, J, K).

    White noise on a lattice, interpolated linearly and smoothed, so that a large field costs little.

    Args:
        rng: draws the noise.
        shape: I, J, K.
        length: distance of the lattice's points, voxels; about the size of a bump.
        channels: independent fields.
    """
    cells = [max(2, round(n / length) + 1) for n in shape]
    noise = white_noise(rng, 1, channels, *cells)
    field = F.interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)
    field = gaussian_smooth(field, min(length / 2, max(shape) / 4))[0]
    centred = field - field.mean(dim=(1, 2, 3), keepdim=True)
    return centred / centred.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
