"""Centres of mass in the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.moments import center_of_mass, moments_translation
from mmreg_lightning.geometry.volume import Volume


@pytest.fixture
def fixed() -> Grid:
    return Grid((6, 5, 4), np.array([[2.0, 0, 0, 1], [0, 3.0, 0, -4], [0, 0, 1.5, 2], [0, 0, 0, 1]]))


@pytest.fixture
def moving(oblique: np.ndarray) -> Grid:
    affine = oblique.copy()
    affine[:3, 3] = (-40, -40, -40)
    return Grid((60, 50, 90), affine)


def test_center_of_mass_is_in_the_world(fixed: Grid) -> None:
    data = torch.zeros(1, *fixed.shape)
    data[0, 1, 2, 3] = 1
    data[0, 4, 2, 3] = 2
    # Voxel (3, 2, 3) -> (7, 2, 6.5) mm
    assert np.allclose(center_of_mass(Volume(data, fixed)), [7, 2, 6.5])


def test_moments_lead_from_the_fixed_to_the_moving_image(fixed: Grid, moving: Grid) -> None:
    ones = [Volume(torch.ones(1, *grid.shape), grid) for grid in (fixed, moving)]
    matrix = moments_translation(*ones)
    assert np.allclose(matrix[:3, :3], np.eye(3))
    assert np.allclose(matrix[:3, 3], moving.center - fixed.center, atol=1e-6)


def test_an_empty_image_has_no_centre_of_mass(fixed: Grid) -> None:
    with pytest.raises(UserError, match="no centre of mass"):
        center_of_mass(Volume(torch.zeros(1, *fixed.shape), fixed))
