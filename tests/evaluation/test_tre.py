from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.evaluation.tre import landmark_errors
from mmreg_lightning.geometry.grid import Grid


def test_error_before_registration_is_the_distance_in_the_world() -> None:
    fixed = Grid((8, 8, 8), np.diag([2.0, 3, 4, 1]))
    moving = Grid((9, 9, 9), np.eye(4))
    # fixed voxel (1, 1, 1) is at (2, 3, 4) mm; moving voxels are mm
    errors = landmark_errors(torch.zeros(3, 8, 8, 8), fixed, moving, [[1, 1, 1]] * 2, [[2, 3, 4], [2, 0, 8]])
    np.testing.assert_allclose(errors, [0, 5], atol=1e-9)


def test_the_displacement_is_in_voxels_of_the_fixed_grid() -> None:
    fixed = Grid((8, 8, 8), np.diag([2.0, 3, 4, 1]))
    u = torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)
    errors = landmark_errors(u, fixed, fixed, [[3, 3, 3]], [[4, 2, 3.5]])
    np.testing.assert_allclose(errors, [0], atol=1e-9)


def test_the_displacement_is_interpolated_at_the_landmark() -> None:
    grid = Grid((5, 6, 7), np.eye(4))
    u = torch.zeros(3, 5, 6, 7)
    u[2] = torch.arange(5.0).view(5, 1, 1)  # u_k = i
    errors = landmark_errors(u, grid, grid, [[1.5, 2, 3], [9, 2, 3]], [[1.5, 2, 4.5], [9, 2, 7]])
    # beyond the field of view its border, 4, is repeated
    np.testing.assert_allclose(errors, [0, 0], atol=1e-9)


def test_lists_that_are_not_pairs() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="not pairs"):
        landmark_errors(torch.zeros(3, 4, 4, 4), grid, grid, [[1, 1, 1]], [[1, 1, 1], [2, 2, 2]])
    with pytest.raises(ValueError, match="displacement of shape"):
        landmark_errors(torch.zeros(3, 4, 4, 5), grid, grid, [[1, 1, 1]], [[1, 1, 1]])
