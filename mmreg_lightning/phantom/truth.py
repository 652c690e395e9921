"""The known displacement of a phantom's pair, on any grid."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.phantom.dataset import VERSION
from mmreg_lightning.phantom.subject import known_displacement


def true_displacement(dataset: Learn2RegDataset, pair: Pair[ImageFiles], grid: Grid) -> Tensor | None:
    """The displacement between the MR and the CT of one subject of a phantom, computed again from its seed.

    Args:
        dataset: any data set.
        pair: of it.
        grid: where it is wanted, in the frame of the fixed image.

    Returns:
        (1, 3, I, J, K) in voxels of ``grid``, fixed to moving; None where the data set is no phantom that this version
        of the package makes, or the pair is of two subjects.
    """
    made = json.loads(dataset.description.read_text(encoding="utf-8")).get("phantom")
    if not isinstance(made, dict) or made.get("version") != VERSION or not pair.same_subject:
        return None
    field = known_displacement(made["seed"], int(pair.fixed.subject) - 1, made["intra_displacement"])
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    points = transform_points(grid.affine, voxels).reshape(-1, 3).T
    moves = np.linalg.inv(grid.affine[:3, :3]) @ field(points.astype(np.float32))
    return torch.from_numpy(moves.reshape(1, 3, *grid.shape).astype(np.float32))
