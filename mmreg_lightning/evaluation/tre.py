"""Target registration error at landmarks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.geometry.frames import Frame, transform_points
from mmreg_lightning.geometry.grid import Grid


def landmark_errors(
    displacement: Tensor,
    fixed_grid: Grid,
    moving_grid: Grid,
    fixed_points: NDArray[np.float64],
    moving_points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance of the place to which each fixed landmark is mapped from its counterpart in the moving image.

    Args:
        displacement: (3, I, J, K) or (1, 3, I, J, K), voxels of ``fixed_grid``, fixed -> moving;
            interpolated linearly, its border repeated outside. All zero gives the error before registration.
        fixed_grid: RAS+ grid of the fixed image, on which the displacement lies.
        moving_grid: RAS+ grid of the moving image.
        fixed_points: (N, 3) voxels of ``fixed_grid``.
        moving_points: (N, 3) voxels of ``moving_grid``, row by row the same places. For points of a file use
            ``Volume.native.points_to_canonical`` first.

    Returns:
        (N,) millimetres.

    Raises:
        ValueError: the two lists differ in shape, or the displacement is not on ``fixed_grid``.
    """
    fixed_points, moving_points = np.asarray(fixed_points, float), np.asarray(moving_points, float)
    if fixed_points.shape != moving_points.shape:
        raise ValueError(f"landmarks of shapes {fixed_points.shape} and {moving_points.shape} are not pairs")
    field = displacement if displacement.ndim == 5 else displacement[None]
    if tuple(field.shape) != (1, 3, *fixed_grid.shape):
        raise ValueError(f"displacement of shape {tuple(displacement.shape)} on {fixed_grid}")
    cube = transform_points(fixed_grid.matrix(Frame.VOXEL, Frame.TORCH_CUBE), fixed_points)
    points = torch.as_tensor(cube, dtype=torch.float64, device=field.device).view(1, 1, 1, -1, 3)
    shifts = torch.nn.functional.grid_sample(
        field.detach().double(), points, padding_mode="border", align_corners=False
    )[0, :, 0, 0].T
    mapped = transform_points(fixed_grid.affine, fixed_points + shifts.cpu().numpy())
    return np.linalg.norm(mapped - transform_points(moving_grid.affine, moving_points), axis=1)
