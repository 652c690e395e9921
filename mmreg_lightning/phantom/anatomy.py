"""The anatomy of one subject as a function of world coordinates."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.layers import Layer
from mmreg_lightning.phantom.noise import SmoothField, bounded_normal
from mmreg_lightning.phantom.organs import OrganModel
from mmreg_lightning.phantom.trunk import Trunk, TrunkModel


class Anatomy:
    """Random anatomy of one subject: a trunk with organs, in smoothly deformed space.

    World coordinates are RAS mm about the centre of the field of view.

    Args:
        rng: draws every random shape; later calls draw nothing, so the anatomy does not depend on the grid.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.trunk = TrunkModel(rng)
        self.organs = OrganModel(rng)
        self.shift = bounded_normal(rng, 1.0, 3) * np.array([4.5, 4, 7.5])
        self.scale = np.exp(bounded_normal(rng, 0.04, 3))
        self.warp_amplitude = 4.5
        self.warp = SmoothField(rng, length=48, period=576, channels=3)
        self.fine_texture = SmoothField(rng, length=4, period=192)
        self.coarse_texture = SmoothField(rng, length=11, period=330)

    def frame(self, points: np.ndarray) -> Trunk:
        """The points inside the body among world ``points`` (3, N) mm, with their distances to the trunk's surfaces."""
        # Most of the air is left out before the costly part, by an ellipse that contains every deformed trunk.
        margin = 4 * self.warp_amplitude
        half_x = float(self.trunk.half_width * self.scale[0]) + margin
        half_y = float(self.trunk.half_depth * self.scale[1]) + margin
        x, y = (points[axis] - np.float32(self.shift[axis]) for axis in (0, 1))
        index = np.flatnonzero(np.square(x * x / half_x**2) + np.square(y * y / half_y**2) < 1)
        return self.trunk.frame(index, self.to_anatomical(points[:, index]))

    def to_anatomical(self, points: np.ndarray) -> np.ndarray:
        """Anatomical coordinates (3, N) mm of world ``points`` (3, N) mm."""
        centred = (points - self.shift.astype(np.float32)[:, None]) / self.scale.astype(np.float32)[:, None]
        return centred + np.float32(self.warp_amplitude) * self.warp(points)

    def sample(self, points: np.ndarray) -> tuple[list[Layer], np.ndarray]:
        """The layers from back to front and the texture at world ``points`` (3, N) mm.

        The texture (N,) of about unit variance is fixed to the tissue, the same in CT and MR, and 0 outside the body.
        """
        trunk = self.frame(points)
        layers = list(self.trunk.shell_layers(trunk))
        layers += self.organs.layers(trunk, self.trunk.back(trunk.points[2]))
        layers += self.trunk.spine_layers(trunk)
        texture = np.zeros(points.shape[1], np.float32)
        fine, coarse = self.fine_texture(trunk.points)[0], self.coarse_texture(trunk.points)[0]
        texture[trunk.index] = np.float32(0.75) * fine + np.float32(0.66) * coarse
        return layers, texture
