"""Smooth random fields at any world coordinate, and bounded random numbers."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


class SmoothField:
    """A periodic Gaussian random field of zero mean and unit variance, defined on all of space.

    White noise on a periodic lattice is filtered with a Gaussian and interpolated linearly. The lattice spacing is two
    fifths of the correlation length.

    Args:
        rng: source of the white noise.
        length: standard deviation of the Gaussian filter in mm.
        period: period of the field in mm.
        channels: number of independent components.
    """

    def __init__(self, rng: np.random.Generator, length: float, period: float, channels: int = 1) -> None:
        cells = max(8, round(2.5 * period / length))
        self.spacing = period / cells
        noise = rng.standard_normal((channels, cells, cells, cells), dtype=np.float32)
        sigma = length / self.spacing
        smooth = ndimage.gaussian_filter(noise, (0, sigma, sigma, sigma), mode="wrap", truncate=3)
        smooth -= smooth.mean(axis=(1, 2, 3), keepdims=True)
        smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
        self.lattice = smooth

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Values (channels, N) float32 at ``points`` (3, N), world mm."""
        coordinates = points / np.float32(self.spacing)
        values = np.empty((len(self.lattice), points.shape[1]), np.float32)
        for lattice, out in zip(self.lattice, values, strict=True):
            ndimage.map_coordinates(lattice, coordinates, output=out, order=1, mode="grid-wrap", prefilter=False)
        return values


def bounded_normal(rng: np.random.Generator, sigma: float, size: int) -> np.ndarray:
    """Normal deviates (size,) of standard deviation ``sigma``, clipped at two standard deviations."""
    return np.clip(rng.standard_normal(size), -2, 2) * sigma


def bounded_scalar(rng: np.random.Generator, sigma: float) -> float:
    """One ``bounded_normal`` deviate as a float, because NumPy scalars turn float32 arrays into float64."""
    return float(bounded_normal(rng, sigma, 1)[0])
