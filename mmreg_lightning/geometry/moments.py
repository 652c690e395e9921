"""Initial alignment by the centres of mass of two images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.volume import Volume


def center_of_mass(volume: Volume) -> NDArray[np.float64]:
    """(3,) mean position, world RAS mm, weighted by the intensities of (1, I, J, K), which are 0 or more.

    Raises:
        UserError: all intensities are 0.
    """
    mass = volume.data[0].double()
    if not mass.any():
        raise UserError(f"{volume.path or 'the image'} has no centre of mass: it is empty within its intensity recipe")
    center = []
    for axis in range(3):
        profile = mass.sum(dim=[a for a in range(3) if a != axis])
        index = profile.new_tensor(range(len(profile)))
        center.append(float((profile * index).sum() / profile.sum()))
    return transform_points(volume.grid.affine, center)


def moments_translation(fixed: Volume, moving: Volume) -> NDArray[np.float64]:
    """The translation between centres of mass: 4x4, world RAS mm of the fixed to that of the moving image.

    Args:
        fixed, moving: (1, I, J, K), intensities of 0 or more.

    Raises:
        UserError: all intensities of an image are 0.
    """
    matrix = np.eye(4)
    matrix[:3, 3] = center_of_mass(moving) - center_of_mass(fixed)
    return matrix
