"""An image or label map with its place in the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid


class Volume:
    """``data`` (C, I, J, K) on ``grid``; float32 for images, int64 for label maps.

    ``native`` is the layout in which results on this grid are written: that of the file it was read from, or
    the grid itself when none is given. ``path`` names the volume in messages. ``stored`` is the number type of
    the file, None where there was none.

    Raises:
        ValueError: the shape of ``data`` or of ``native`` is not that of the grid.
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
            raise ValueError(f"a native layout of shape {native.shape} that is another grid than {grid}")
        self.data = data
        self.grid = grid
        self.native = NativeGrid.of(grid) if native is None else native
        self.path = path
        self.stored = stored

    def with_data(self, data: torch.Tensor) -> Volume:
        """Other values (C, I, J, K) on the same grid, to be written in the same layout."""
        return Volume(data, self.grid, self.native)

    @property
    def label_ids(self) -> list[int]:
        """The ids that occur in a label map, without the background 0 and ``IGNORED``, in order."""
        flat = self.data.flatten()
        if int(flat.min()) < 0:
            flat = flat.clamp_min(0)
        # Counting is a hundred times faster than sorting, but needs as many counters as the largest id.
        found = torch.bincount(flat).nonzero()[:, 0] if int(flat.max()) < flat.numel() else flat.unique()
        return [i for i in found.tolist() if i != 0]


def check_same_grid(labels: Volume, image: Volume) -> None:
    """Check that a label map or mask lies voxel on voxel on its image, to a tenth of a voxel.

    Raises:
        UserError: shape, spacing, position or direction differ; the message names both files.
    """
    if not labels.grid.same_as(image.grid):
        raise UserError(f"{_describe(labels)} is not on the same grid as {_describe(image)}")


def _describe(volume: Volume) -> str:
    spacing = " x ".join(f"{s:.4g}" for s in volume.grid.spacing)
    size = " x ".join(str(n) for n in volume.grid.shape)
    center = ", ".join(f"{c:.4g}" for c in volume.grid.center)
    return f"{volume.path or 'volume'} ({size} voxels of {spacing} mm, centre {center})"
