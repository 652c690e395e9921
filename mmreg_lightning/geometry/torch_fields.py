"""Displacement fields as sampling grids of ``torch.nn.functional.grid_sample``."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.l2r_fields import mapped_voxels
from mmreg_lightning.geometry.native import NativeGrid


def to_torch(displacement: Tensor, fixed: NativeGrid, moving: NativeGrid) -> Tensor:
    """A displacement as a sampling grid.

    Args:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        fixed, moving: layouts of the two image files.

    Returns:
        (1, X, Y, Z, 3), float32, in the axis order of the fixed file: ``grid_sample(moving_array[None, None], grid,
        align_corners=False)`` is the warped array, with ``moving_array`` (X', Y', Z') as it is in its file.
    """
    size = np.array(moving.shape)
    cube = (2 * mapped_voxels(displacement, fixed, moving) + 1) / size - 1
    return torch.from_numpy(np.ascontiguousarray(cube[..., ::-1], dtype=np.float32))[None]


def write_torch_field(
    displacement: Tensor, fixed: NativeGrid, moving: NativeGrid, path: str | os.PathLike[str]
) -> None:
    """Write ``to_torch`` for ``torch.load(path)``."""
    with atomic_path(path) as temporary:
        torch.save(to_torch(displacement, fixed, moving), temporary)
