"""Displacement fields between voxels and millimetres, and between grids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.geometry.frames import Frame
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_affine


def world_to_voxels(displacement: Tensor, grid: Grid) -> Tensor:
    """Displacement (..., 3, I, J, K) in world RAS mm, order R, A, S -> voxels of ``grid``, order I, J, K."""
    return map_vectors(displacement, grid.matrix(Frame.WORLD_RAS, Frame.VOXEL))


def resample_displacement(displacement: Tensor, grid_from: Grid, grid_to: Grid) -> Tensor:
    """A displacement on another grid in the same world, (3, ...) or (1, 3, ...) in voxels of ``grid_to``.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K), in voxels of ``grid_from``.
        grid_from: grid of the displacement, which is interpolated linearly; its border is repeated outside.
        grid_to: grid of the result.

    Raises:
        ValueError: the displacement does not have the shape of ``grid_from``.
    """
    field = single_field(displacement, grid_from)
    matrix = grid_from.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE) @ grid_to.matrix(Frame.VOXEL, Frame.WORLD_RAS)
    sampled = sample_affine(field, matrix, grid_to.shape)
    out = map_vectors(sampled, grid_from.voxel_to(grid_to))
    return out[None] if displacement.ndim == 5 else out


def map_vectors(field: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Vectors (..., 3, I, J, K) multiplied by the linear part of a 4x4 matrix."""
    linear = torch.tensor(matrix[:3, :3], dtype=field.dtype, device=field.device)
    return torch.einsum("xc,...cijk->...xijk", linear, field)


def single_field(displacement: Tensor, grid: Grid) -> Tensor:
    """(3, I, J, K) of a displacement with or without a batch axis of one.

    Raises:
        ValueError: the displacement does not have the shape of ``grid``.
    """
    field = displacement[0] if displacement.ndim == 5 and displacement.shape[0] == 1 else displacement
    if tuple(field.shape) != (3, *grid.shape):
        raise ValueError(f"displacement of shape {tuple(displacement.shape)} on a grid of shape {grid.shape}")
    return field
