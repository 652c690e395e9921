"""The random geometry of a pair: where a patch lies in a label map, and how its two views are displaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.errors import non_negative
from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.phantom.shapes import rotation
from mmreg_lightning.synthesis.fields import smooth_field
from mmreg_lightning.synthesis.label_map import LabelMap

_LATTICE = 24


@dataclass(frozen=True)
class Geometry:
    """How far geometry may vary; each value bounds what is drawn.

    The views of a pair are always displaced, most of them far: at equal positions a network learns positions from its
    zero padding.

    Attributes:
        degrees: rotation of the map.
        turned: share of the items with exchanged axes, on top.
        stretch: logarithm of the scale of each axis.
        shape: shape change of the map, as a share of the patch's side.
        shift: between the views along each axis, voxels.
        near, near_shift: share of the pairs that are shifted by less, and by how much at most.
        view_degrees, view_stretch: rotation, and logarithm of the scale of each axis, between the views.
        elastic: smooth displacement between the views, voxels.
    """

    degrees: float = 20.0
    turned: float = 0.25
    stretch: float = 0.2
    shape: float = 0.05
    shift: float = 13.0
    near: float = 0.3
    near_shift: float = 5.0
    view_degrees: float = 8.0
    view_stretch: float = 0.08
    elastic: float = 3.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            non_negative(f"data.geometry.{name}", value)

    def draw(
        self, rng: np.random.Generator, label_map: LabelMap, side: int, spacing: float
    ) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
        """Regions that the fixed and the moving patch show, and the displacement between them.

        Args:
            rng: draws it all.
            label_map: to cut from.
            side: voxels of the patches, S.
            spacing: mm of the map that a voxel stands for.

        Returns:
            (S, S, S) regions of fixed and moving, and the displacement u (3, S, S, S) in voxels: x in the fixed patch
            is x + u(x) in the moving one, which may lie outside of it.
        """
        u = self._between(rng, side)
        centred = identity_grid((side, side, side))[0] - (side - 1) / 2
        seen = torch.stack([centred + u, centred])  # in voxels about the centre of the moving patch
        points = self._placed(rng, label_map, seen, side, spacing).numpy()
        return label_map.sample(points[0]), label_map.sample(points[1]), u.numpy()

    def _between(self, rng: np.random.Generator, side: int) -> Tensor:
        matrix = rotation(rng.uniform(-self.view_degrees, self.view_degrees, 3).tolist())
        matrix = matrix @ np.diag(np.exp(rng.uniform(-self.view_stretch, self.view_stretch, 3)))
        change = torch.from_numpy(matrix).float() - torch.eye(3)
        centred = identity_grid((side, side, side))[0] - (side - 1) / 2
        u = torch.einsum("ab,bijk->aijk", change, centred)
        shift = self.near_shift if rng.random() < self.near else self.shift
        u += torch.from_numpy(rng.uniform(-shift, shift, 3)).float().view(3, 1, 1, 1)
        bumps = smooth_field(rng, (side,) * 3, float(rng.uniform(side / 5, side / 2)), 3)
        # Two standard deviations at most, so that it rarely folds; half of the pairs are displaced less.
        return u + bumps.clamp(-2, 2) * float(rng.uniform(0, self.elastic / 2))

    def _placed(self, rng: np.random.Generator, label_map: LabelMap, seen: Tensor, side: int, spacing: float) -> Tensor:
        """Points of the map, mm from its centre, at places (2, 3, S, S, S) in voxels about the centre of a patch."""
        degrees = rng.uniform(-self.degrees, self.degrees, 3)
        scales = np.exp(rng.uniform(-self.stretch, self.stretch, 3)) * rng.choice([-1, 1], 3, p=[0.2, 0.8])
        matrix = rotation(degrees.tolist()) @ np.diag(scales)
        if rng.random() < self.turned:
            matrix = matrix[:, rng.permutation(3)]
        # The shape change lives on a lattice about the patch, and is interpolated: places are at no voxels.
        reach = 1.25 * side
        lattice = smooth_field(rng, (_LATTICE,) * 3, float(rng.uniform(0.12, 0.3)) * _LATTICE, 3)
        grid = (seen / reach).flip(1).movedim(1, -1)  # order K, J, I
        bumps = F.grid_sample(lattice[None].expand(2, -1, -1, -1, -1), grid, padding_mode="border", align_corners=True)
        shaped = seen + bumps * float(rng.uniform(0, self.shape * side))
        points = torch.einsum("ab,nbijk->naijk", torch.from_numpy(matrix * spacing).float(), shaped)
        return points + torch.from_numpy(self._centre(rng, label_map)).float().view(3, 1, 1, 1)

    def _centre(self, rng: np.random.Generator, label_map: LabelMap) -> NDArray[np.float64]:
        """A place that is no air and seldom in the middle of a large region: the border of two, if it is found soon."""
        shape = np.array(label_map.regions.shape)
        found = (shape - 1) / 2
        for _ in range(40):
            voxel = rng.integers(0, shape)
            own = int(label_map.regions[tuple(voxel)])
            if label_map.tissues[own] == "air":
                continue
            found = voxel.astype(float)
            near = (voxel + rng.integers(-5, 6, 3)).clip(0, shape - 1)
            if int(label_map.regions[tuple(near)]) != own:
                break
        return (found - (shape - 1) / 2) * label_map.spacing
