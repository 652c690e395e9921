"""The known displacement between the MR and the CT of one subject."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.noise import SmoothField

MIN_JACOBIAN = 0.4


class KnownDisplacement:
    """Smooth invertible displacement v, world RAS mm: the point x of the MR is the point x + v(x) of the CT.

    It is the sum of a breathing motion and a random field, reduced at the spine, and scaled down if needed so that its
    Jacobian determinant stays above ``MIN_JACOBIAN``.

    Args:
        rng: source of the random field.
        amplitude: upper bound of |v| in mm inside the field of view of 384 x 320 x 384 mm; 0 gives v = 0.
    """

    def __init__(self, rng: np.random.Generator, amplitude: float) -> None:
        self.field = SmoothField(rng, length=42, period=504, channels=3)
        self.breath = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.0)
        self.random = rng.uniform(0.3, 0.45)
        self.scale = 1.0
        if amplitude == 0:
            self.scale = 0.0
            return
        step = 8.0
        axes = [np.arange(-half, half + step, step, dtype=np.float32) for half in (192, 160, 192)]
        lattice = np.stack(np.meshgrid(*axes, indexing="ij"))
        field = self(lattice.reshape(3, -1)).reshape(lattice.shape)
        largest = np.sqrt((field**2).sum(axis=0)).max()
        self.scale = amplitude * rng.uniform(0.8, 1.0) / float(largest)
        while smallest_jacobian(field * self.scale, step) < MIN_JACOBIAN:
            self.scale *= 0.9

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Displacement (3, N) mm at world ``points`` (3, N) mm of the MR."""
        if self.scale == 0:
            return np.zeros_like(points)
        x, y, z = points
        field = np.float32(self.random) * self.field(points)
        diaphragm = np.exp(-(((z - 45) / 85) ** 2) - (x / 170) ** 2 - (y / 150) ** 2)
        field[2] += np.float32(self.breath) * diaphragm
        field[1] -= np.float32(0.35 * self.breath) * diaphragm * np.clip(y / 100, -0.2, 1)
        spine = np.exp(-((x / 45) ** 2) - ((y + 75) / 45) ** 2)
        return np.float32(self.scale) * field * (1 - np.float32(0.85) * spine)


def smallest_jacobian(field: np.ndarray, spacing: float) -> float:
    """Smallest Jacobian determinant of x + v(x) for ``field`` (3, I, J, K) mm on a lattice of ``spacing`` mm."""
    jacobian = np.stack([np.stack(np.gradient(component, spacing)) for component in field])
    jacobian += np.eye(3)[:, :, None, None, None]
    return float(np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min())
