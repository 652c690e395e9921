"""Smooth fields with a large affine, for tests of transforms."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.world_transforms import FieldTransform


def an_affine(scale: float = 1.1) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [12, -20, 15], degrees=True).as_matrix() * scale
    matrix[:3, 3] = (25.0, -18.0, 30.0)
    return matrix


def wavy_field() -> FieldTransform:
    """A large affine and steep waves without folds, on an oblique grid of 2 x 3 x 2 mm."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 25, degrees=True).as_matrix() @ np.diag([2.0, 3.0, 2.0])
    affine[:3, 3] = (-40.0, -50.0, -60.0)
    grid = Grid((40, 36, 44), affine)
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid.shape), indexing="ij"))
    wave = 2.5 * torch.sin(index.roll(1, 0) / 5.0) + 1.5 * torch.sin(index / 4.0)
    return FieldTransform(then_affine(wave[None], grid, an_affine())[0], grid)


def inner_points(grid: Grid, count: int = 500) -> np.ndarray:
    voxels = np.random.default_rng(0).uniform(0.15, 0.85, (count, 3)) * np.array(grid.shape)
    return voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
