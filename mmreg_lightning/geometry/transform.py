"""Composition of displacements with world affines, and warping of volumes in the world."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.geometry.frames import Frame
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_at, slabs
from mmreg_lightning.geometry.volume import Volume


def then_affine(displacement: Tensor, grid: Grid, affine: NDArray[np.float64]) -> Tensor:
    """The displacement by ``displacement`` and then by a world affine, (1, 3, I, J, K) in voxels of ``grid``.

    Args:
        displacement: (1, 3, I, J, K) in voxels of ``grid``.
        grid: grid of the displacement and of the result.
        affine: 4x4, world RAS mm to world RAS mm.
    """
    # The identity part is left out, so that an identity affine changes no bit.
    extra = np.linalg.inv(grid.affine) @ affine @ grid.affine - np.eye(4)
    if not extra.any():
        return displacement
    matrix = torch.tensor(extra, dtype=displacement.dtype, device=displacement.device)
    points = identity_grid(grid.shape, displacement.device, displacement.dtype) + displacement
    return displacement + torch.einsum("xc,bcijk->bxijk", matrix[:3, :3], points) + matrix[:3, 3].view(1, 3, 1, 1, 1)


def warp_volume(
    moving: Volume,
    displacement: Tensor,
    fixed_grid: Grid,
    mode: Literal["linear", "nearest"] = "linear",
    fill: float | None = None,
) -> Volume:
    """Warp a volume onto the fixed image's grid with one interpolation: ``warped(x) = moving(world(x + u(x)))``.

    This is what ITK's resampling filter computes for the exported field. There is no smoothing where the fixed grid
    is coarser.

    Args:
        moving: data (C, I', J', K') on its own grid, of any spacing and direction.
        displacement: u, (1, 3, I, J, K) in voxels of ``fixed_grid``, fixed to moving.
        fixed_grid: grid of the result.
        mode: ``linear`` for images; ``nearest`` for label maps, whose integer dtype is kept.
        fill: value outside the field of view of ``moving``; None is its smallest value for ``linear``, 0 for
            ``nearest``.

    Raises:
        ValueError: the displacement does not have the shape of ``fixed_grid``.
    """
    if tuple(displacement.shape) != (1, 3, *fixed_grid.shape):
        raise ValueError(f"displacement of shape {tuple(displacement.shape)} on {fixed_grid}")
    # double represents every label id exactly
    data = moving.data if moving.data.is_floating_point() else moving.data.double()
    if fill is None:
        fill = float(data.min()) if mode == "linear" else 0.0
    to_cube = moving.grid.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE) @ fixed_grid.matrix(Frame.VOXEL, Frame.WORLD_RAS)
    matrix = torch.tensor(to_cube, dtype=data.dtype, device=data.device)
    out = data.new_empty((data.shape[0], *fixed_grid.shape))
    for slab in slabs(fixed_grid.shape):
        voxels = identity_grid((slab.stop - slab.start, *fixed_grid.shape[1:]), data.device, data.dtype)[0]
        voxels[0] += slab.start
        voxels += displacement[0, :, slab]
        points = torch.einsum("xc,cijk->ijkx", matrix[:3, :3], voxels) + matrix[:3, 3]
        out[:, slab] = sample_at(data, points, mode, fill)
    return Volume(out.to(moving.data.dtype), fixed_grid)


def vote_labels(moving: Volume, displacement: Tensor, fixed_grid: Grid, fill: int = 0) -> Volume:
    """``warp_volume`` of a label map (1, I', J', K'): the indicator of each label is warped linearly, the largest wins.

    The nearest voxel misplaces surfaces by up to half a voxel; this does not (ANTs: GenericLabel). ``fill`` is the
    label outside the field of view of ``moving``.
    """
    best = torch.zeros(1, *fixed_grid.shape)
    labels = torch.full((1, *fixed_grid.shape), fill, dtype=moving.data.dtype)
    for label in moving.data.unique().tolist():
        indicator = Volume((moving.data == label).float(), moving.grid)
        share = warp_volume(indicator, displacement, fixed_grid, "linear", fill=0.0).data
        wins = share > best
        labels[wins] = label
        best[wins] = share[wins]
    return Volume(labels, fixed_grid)
