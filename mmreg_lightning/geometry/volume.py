"""Images and label maps with their position in the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid


class Volume:
    """An image or label map on a grid.

    Attributes:
        data: (C, I, J, K), float32 for images, int64 for label maps.
        grid: RAS+ grid of the data.
        native: layout in which results on this grid are written; by default that of ``grid``.
        path: name of the volume in messages.
        stored: number type of the file; None without a file.

    Raises:
        ValueError: the grid of ``data`` or of ``native`` is not ``grid``.
    """

    def __init__(
        self,
        data: torch.Tensor,
        grid: Grid,
        native: NativeGrid | None = None,
        path: Path | None = None,
        stored: np.dtype[Any] | None = None,
    ) -> None:
        if data.ndim != 4 or tuple(data.shape[1:]) != grid.shape:
            raise ValueError(f"data of shape {tuple(data.shape)} on a grid of shape {grid.shape}")
        if native is not None and not native.canonical_grid.same_as(grid):
            raise ValueError(f"native layout of shape {native.shape} on another grid than {grid}")
        self.data = data
        self.grid = grid
        self.native = NativeGrid.of(grid) if native is None else native
        self.path = path
        self.stored = stored

    @property
    def label_ids(self) -> list[int]:
        """Sorted ids of a label map, without the background 0 and ``IGNORED``."""
        flat = self.data.flatten()
        if int(flat.min()) < 0:
            flat = flat.clamp_min(0)
        # Counting is a hundred times faster than sorting, but needs memory for the largest id.
        found = torch.bincount(flat).nonzero()[:, 0] if int(flat.max()) < flat.numel() else flat.unique()
        return [i for i in found.tolist() if i != 0]


def check_same_grid(labels: Volume, image: Volume) -> None:
    """Check that a label map or mask has the grid of its image, to a tenth of a voxel.

    Raises:
        UserError: the grids differ.
    """
    if not labels.grid.same_as(image.grid):
        raise UserError(f"{describe(labels)} is not on the same grid as {describe(image)}")


def describe(volume: Volume) -> str:
    """Name, size, spacing and place of a volume, for messages."""
    spacing = " x ".join(f"{s:.4g}" for s in volume.grid.spacing)
    size = " x ".join(str(n) for n in volume.grid.shape)
    center = ", ".join(f"{c:.4g}" for c in volume.grid.center)
    return f"{volume.path or 'volume'} ({size} voxels of {spacing} mm, centre {center})"
