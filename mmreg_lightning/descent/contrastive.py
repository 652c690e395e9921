"""The contrastive stage: one place in two views has like features, other places have unlike ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.errors import UserError, non_negative, positive_int
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.functional.warp import to_torch_grid


class VoxelContrast:
    """InfoNCE over random places of a pair whose displacement is known (van den Oord et al., arXiv 1807.03748).

    The likeness of two places is minus the squared difference of their features, which is what a registration makes
    small. Each place of the fixed view is told from the other places of the moving view, and the other way round.

    Args:
        places: drawn in each pair.
        temperature: squared difference that makes a place e times less likely.
        apart: feature voxels; places that are nearer to each other are not told apart.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, places: int = 384, temperature: float = 0.2, apart: float = 1.5) -> None:
        self.places = positive_int("training.contrast.places", places)
        self.temperature = non_negative("training.contrast.temperature", temperature)
        if not self.temperature > 0:
            raise UserError(f"training.contrast.temperature={temperature}: must be above 0")
        self.apart = non_negative("training.contrast.apart", apart)

    def __call__(self, fixed: Tensor, moving: Tensor, displacement: Tensor, stride: int, seed: int) -> Tensor:
        """The loss of a batch, a scalar; log(places) is that of features that tell nothing.

        Args:
            fixed, moving: (B, C, i, j, k) bounded features.
            displacement: (B, 3, I, J, K) in voxels of the images, fixed to moving.
            stride: image voxels to a feature voxel.
            seed: draws the places.
        """
        # Between the centres of feature voxels, the mean displacement of their image voxels.
        u = pool(displacement, stride) / stride
        grid = to_torch_grid(u)
        inside = (grid.abs() <= 1).all(-1).flatten(1)
        generator = torch.Generator().manual_seed(seed)
        losses = []
        for f, m, own_grid, own_u, seen in zip(fixed, moving, grid, u, inside, strict=True):
            places = seen.nonzero()[:, 0]
            if len(places) < 2:
                continue
            order = torch.randperm(len(places), generator=generator)[: self.places]
            places = places[order.to(places.device)]
            points = own_grid.reshape(1, 1, 1, -1, 3)[..., places, :]
            a = f.flatten(1)[:, places]
            b = F.grid_sample(m[None], points, padding_mode="border", align_corners=False).view(len(m), -1)
            losses.append(self._told_apart(a, b, _positions(places, own_u)))
        if not losses:  # the views of no pair overlap
            return 0 * (fixed.sum() + moving.sum())
        return torch.stack(losses).mean()

    def _told_apart(self, a: Tensor, b: Tensor, positions: Tensor) -> Tensor:
        """The loss of (C, N) features of N places, both ways; ``positions`` (N, 3) in feature voxels."""
        likeness = 2 * a.T @ b - a.square().sum(0)[:, None] - b.square().sum(0)
        near = torch.cdist(positions[None], positions[None])[0] < self.apart
        near.fill_diagonal_(False)
        logits = (likeness / self.temperature).masked_fill(near, -math.inf)
        target = torch.arange(len(logits), device=logits.device)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def _positions(places: Tensor, displacement: Tensor) -> Tensor:
    """(N, 3) voxels of flat indices on the grid of a displacement (3, i, j, k)."""
    _, _, j, k = displacement.shape
    rest = places % (j * k)
    return torch.stack([places // (j * k), rest // k, rest % k], dim=1).float()
