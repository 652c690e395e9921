"""Label maps of simple shapes, for tests of several layers."""

from __future__ import annotations

import torch
from torch import Tensor


def cubes(shift: int = 2) -> tuple[Tensor, Tensor]:
    """Label maps (1, 1, 16, 16, 16) of a cube of 8 voxels and of the same cube ``shift`` voxels further along I."""
    fixed, moving = torch.zeros(2, 1, 1, 16, 16, 16, dtype=torch.long)
    fixed[:, :, 4:12, 4:12, 4:12] = 1
    moving[:, :, 4 + shift : 12 + shift, 4:12, 4:12] = 1
    return fixed, moving
