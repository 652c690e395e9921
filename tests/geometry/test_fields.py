from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.fields import resample_displacement, voxels_to_world, world_to_voxels
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.io.itk_fields import write_itk_field

Save = Callable[..., Path]


def wave(shape: tuple[int, int, int], size: float = 1.0) -> torch.Tensor:
    """A smooth displacement (3, I, J, K), different in each channel, of about ``size`` voxels."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    channels = [np.sin(3 * j + k), np.cos(2 * i) - 0.5 * k, np.sin(4 * k - i) + 0.3]
    return torch.from_numpy(size * np.stack(channels)).float()


def test_voxels_become_millimetres_along_the_axes_of_the_grid() -> None:
    # i runs to the anterior with 2 mm, j to the left with 3 mm, k to the superior with 4 mm
    affine = np.array([[0, -3.0, 0, 5], [2, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    grid = Grid((2, 2, 2), affine)
    u = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1).expand(3, 2, 2, 2)
    world = voxels_to_world(u, grid)
    assert world[:, 0, 0, 0].tolist() == [-30, 2, 400]
    torch.testing.assert_close(world_to_voxels(world, grid), u)
    assert voxels_to_world(u[None], grid).shape == (1, 3, 2, 2, 2)


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


# RAS as written, LAS, ASR, PSR: the axes as (axis of RAS+, flip), one row for each axis of the array
