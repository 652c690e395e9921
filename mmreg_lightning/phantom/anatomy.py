"""The anatomy of one subject as a function of world coordinates."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.layers import Layer
from mmreg_lightning.phantom.noise import SmoothField, bounded_normal
from mmreg_lightning.phantom.organs import OrganModel
from mmreg_lightning.phantom.trunk import Trunk, TrunkModel

FloatArray = np.ndarray


class Anatomy:
    """Random anatomy of one subject: a trunk and its organs behind a smooth deformation of space.

    World coordinates are RAS mm about the centre of the field of view: the first axis points to the
    patient's right.

    Args:
        rng: draws every random shape; nothing is drawn later, so the anatomy does not depend on the grid.
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

    def frame(self, points: FloatArray) -> Trunk:
        """The points inside the body among world ``points`` (3, N) mm, and where they lie in the trunk."""
        # Most of the air is left out before the costly part: an outline wider than the warped trunk can be.
        margin = 4 * self.warp_amplitude
        half_x = float(self.trunk.half_width * self.scale[0]) + margin
        half_y = float(self.trunk.half_depth * self.scale[1]) + margin
        x, y = (points[axis] - np.float32(self.shift[axis]) for axis in (0, 1))
        index = np.flatnonzero(np.square(x * x / half_x**2) + np.square(y * y / half_y**2) < 1)
        return self.trunk.frame(index, self.to_anatomical(points[:, index]))

    def to_anatomical(self, points: FloatArray) -> FloatArray:
        """Anatomical coordinates (3, N) mm of world ``points`` (3, N) mm."""
        centred = (points - self.shift.astype(np.float32)[:, None]) / self.scale.astype(np.float32)[:, None]
        return centred + np.float32(self.warp_amplitude) * self.warp(points)

    def sample(self, points: FloatArray) -> tuple[list[Layer], FloatArray]:
        """The anatomy at world ``points`` (3, N) mm.

        Returns:
            The layers from the back to the front, and the texture (N,) of about unit variance, which is tied
            to the tissue, the same in CT and in MR, and 0 outside the body.
        """
        trunk = self.frame(points)
        layers = list(self.trunk.shell_layers(trunk))
        layers += self.organs.layers(trunk, self.trunk.back(trunk.points[2]))
        layers += self.trunk.spine_layers(trunk)
        texture = np.zeros(points.shape[1], np.float32)
        fine, coarse = self.fine_texture(trunk.points)[0], self.coarse_texture(trunk.points)[0]
        texture[trunk.index] = np.float32(0.75) * fine + np.float32(0.66) * coarse
        return layers, texture
