from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.fields import map_vectors, resample_displacement, world_to_voxels
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.io.itk_fields import write_itk_field


def test_millimetres_become_voxels_along_the_axes_of_the_grid() -> None:
    # i runs to the anterior with 2 mm, j to the left with 3 mm, k to the superior with 4 mm
    affine = np.array([[0, -3.0, 0, 5], [2, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    world = torch.tensor([-30.0, 2, 400]).view(3, 1, 1, 1).expand(3, 2, 2, 2)
    voxels = world_to_voxels(world, Grid((2, 2, 2), affine))
    assert voxels[:, 0, 0, 0].tolist() == pytest.approx([1, 10, 100])
    assert torch.equal(world_to_voxels(world[None], Grid((2, 2, 2), affine))[0], voxels)
    back = map_vectors(voxels, affine)
    torch.testing.assert_close(back, world)


def test_resampling_keeps_millimetres() -> None:
    coarse = Grid((6, 5, 4), np.diag([4.0, 4, 4, 1]))
    fine = coarse.resampled((2, 1, 4))
    u = torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1, 1).expand(3, 6, 5, 4)
    out = resample_displacement(u[None], coarse, fine)
    assert out.shape == (1, 3, 12, 20, 4)
    torch.testing.assert_close(out[0], torch.tensor([2.0, -8.0, 0.5]).view(3, 1, 1, 1).expand(3, 12, 20, 4))


def test_resampling_repeats_the_border_outside() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    u = torch.zeros(3, 4, 4, 4)
    u[0] = torch.arange(4.0).view(4, 1, 1)
    far = np.eye(4)
    far[0, 3] = 2
    out = resample_displacement(u, grid, Grid((4, 4, 4), far))
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([2.0, 3, 3, 3]))


def test_a_field_that_is_not_on_its_grid_is_refused(tmp_path: Path) -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="displacement of shape"):
        resample_displacement(torch.zeros(3, 4, 4, 5), grid, grid)
    with pytest.raises(ValueError, match="displacement of shape"):
        write_itk_field(torch.zeros(2, 3, 4, 4, 4), grid, tmp_path / "u.nii.gz")
