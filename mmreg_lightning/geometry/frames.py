"""The coordinate frames of this package."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Frame(Enum):
    """A coordinate frame of a ``Grid``; ``Grid.matrix(source, target)`` converts points between two of them."""

    VOXEL = "voxel"
    """Array index (i, j, k); voxel centres have integer coordinates, the field of view is [-0.5, n - 0.5]."""
    WORLD_RAS = "world_ras"
    """Millimetres, axes to the patient's right, anterior, superior (NIfTI, nibabel, TorchIO)."""
    WORLD_LPS = "world_lps"
    """Millimetres, axes to the patient's left, posterior, superior (DICOM, ITK, SimpleITK, ANTs)."""
    TORCH_CUBE = "torch_cube"
    """``grid_sample`` with ``align_corners=False``: order (k, j, i), the field of view is [-1, 1]."""


RAS_TO_LPS: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse, so also LPS to RAS."""


def transform_points(matrix: NDArray[np.floating], points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) mapped by the 4x4 ``matrix``, float64."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3])
