"""Affine registration of feature maps in physical space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import expm
from torch import Tensor

from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.functional.resize import Factor, level_factors, pool
from mmreg_lightning.functional.taylor import taylor_system
from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.geometry.frames import Frame, transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_affine

AffineKind = Literal["rigid", "similarity", "affine"]
AFFINE_KINDS: tuple[AffineKind, ...] = get_args(AffineKind)
MIN_OVERLAP = 0.25
"""A transform with less overlap than this share of the smaller image (or mask) has infinite cost."""
MAX_VOXELS = 200_000
"""Finer levels are left out when a coarser one can be used: twelve parameters need no more voxels."""
_DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class FeatureMap:
    """Features with their position in the world.

    Attributes:
        features: (1, C, I, J, K).
        inside: (1, 1, I, J, K) in [0, 1], trust in each voxel.
        grid: grid of the features.
    """

    features: Tensor
    inside: Tensor
    grid: Grid

    def pooled(self, factor: Factor) -> FeatureMap:
        """The same on a coarser grid."""
        grid = self.grid.pooled(factor)
        return FeatureMap(pool(self.features, factor), pool(self.inside, factor), grid)


class AffineRegistration:
    """Gauss-Newton steps on the parameters of a world affine, coarse to fine.

    The normal equations of ``taylor_system`` without damping are summed over the fixed image for displacements
    ``t + W (p - c)``, p in world mm and c the fixed image's centre, and solved with Levenberg-Marquardt damping. Cauchy
    weights reduce the influence of large residuals, because features of two subjects agree only in part. W is
    antisymmetric for ``rigid``, antisymmetric plus a multiple of the identity for ``similarity``, and any matrix for
    ``affine``. The transform contains the matrix exponential of W, so a rigid transform stays rigid.

    Args:
        kind: ``rigid``, ``similarity`` or ``affine``.
        levels: pooling factors, coarse to fine; a short axis is pooled less, see ``level_factors``. Levels of more
            than ``MAX_VOXELS`` voxels are left out.
        iterations: largest number of steps at each level.

    Raises:
        UserError: ``kind`` is unknown, or a number is not positive.
    """

    def __init__(self, kind: AffineKind = "affine", levels: Sequence[int] = (4, 2, 1), iterations: int = 30) -> None:
        if kind not in AFFINE_KINDS:
            raise UserError(f"affine.kind={kind}: must be one of {', '.join(AFFINE_KINDS)}")
        self.basis = torch.from_numpy(_basis(kind))
        self.levels = [positive_int("affine.levels", factor) for factor in levels]
        self.iterations = positive_int("affine.iterations", iterations)

    @torch.no_grad()
    def __call__(
        self, fixed: FeatureMap, moving: FeatureMap, starts: Sequence[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """The transform of least cost, 4x4, world RAS mm of the fixed to world RAS mm of the moving image.

        Args:
            fixed, moving: features of the two images, each on any grid.
            starts: initial transforms; all are optimised at the coarsest level, and the best one at the finer levels.
        """
        candidates = [np.array(start, dtype=np.float64) for start in starts]
        for factors in self._usable(fixed.grid, moving.grid):
            level = fixed.pooled(factors[0]), moving.pooled(factors[1])
            # One scale for all starts, so that their costs can be compared.
            first = [_cost(*level, *_warped(*level, start), None) for start in candidates]
            scale = min((s for cost, s in first if cost < float("inf")), key=float, default=first[0][1])
            found = [self._descend(*level, candidate, scale) for candidate in candidates]
            candidates = [min(found, key=lambda one: one[1])[0]]
        return candidates[0]

    @torch.no_grad()
    def costs(self, fixed: FeatureMap, moving: FeatureMap, transforms: Sequence[NDArray[np.float64]]) -> list[float]:
        """What the search lowers, of several transforms on one scale; infinite where the images do not overlap.

        Args:
            fixed, moving: features of the two images, each on any grid.
            transforms: 4x4, world RAS mm of the fixed to world RAS mm of the moving image.
        """
        factors = self._usable(fixed.grid, moving.grid)[-1]
        level = fixed.pooled(factors[0]), moving.pooled(factors[1])
        first = [_cost(*level, *_warped(*level, transform), None) for transform in transforms]
        scale = min((s for cost, s in first if cost < float("inf")), key=float, default=first[0][1])
        return [_cost(*level, *_warped(*level, transform), scale)[0] for transform in transforms]

    def _usable(self, fixed: Grid, moving: Grid) -> list[tuple[Factor, Factor]]:
        """Pooling factors of both images at each level, each once."""
        own = [level_factors(grid.shape, self.levels) for grid in (fixed, moving)]
        levels: list[tuple[Factor, Factor]] = list(dict.fromkeys(zip(*own, strict=True)))
        small = [level for level in levels if math.prod(fixed.pooled(level[0]).shape) <= MAX_VOXELS]
        return small or levels[:1]

    def _descend(
        self, fixed: FeatureMap, moving: FeatureMap, transform: NDArray[np.float64], scale: Tensor
    ) -> tuple[NDArray[np.float64], float]:
        """The transform and its cost after steps on one level, while one of the dampings reduces the cost."""
        center = fixed.grid.center
        to_voxels = torch.from_numpy(np.linalg.inv(fixed.grid.affine[:3, :3]))
        points = torch.from_numpy(
            transform_points(fixed.grid.affine, identity_grid(fixed.grid.shape)[0].flatten(1).T.double().numpy())
            - center
        )
        # Derivatives of each voxel's displacement with respect to the parameters: (N, 3, P), voxels.
        homogeneous = torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)
        design = torch.einsum("vw,pwh,nh->nvp", to_voxels, self.basis, homogeneous).float().to(fixed.features)
        warped, weight = _warped(fixed, moving, transform)
        cost, _ = _cost(fixed, moving, warped, weight, scale)
        for _ in range(self.iterations):
            residual = (fixed.features - warped).square().sum(1, keepdim=True)
            robust = weight / (1 + residual / scale)
            matrix, rhs = taylor_system(fixed.features, warped, alpha=0.0, max_step=1e6, weight=robust)
            normal, gradient = _sum_up(matrix, rhs, design)
            for damping in _DAMPINGS:
                damped = normal + damping * np.diag(np.diag(normal))
                step: NDArray[np.float64] = np.linalg.lstsq(damped, gradient, rcond=None)[0].astype(np.float64)
                trial = transform @ self._increment(step, center)
                trial_warped, trial_weight = _warped(fixed, moving, trial)
                trial_cost, _ = _cost(fixed, moving, trial_warped, trial_weight, scale)
                if trial_cost < cost:
                    break
            else:
                break
            gain, transform, cost = cost - trial_cost, trial, trial_cost
            warped, weight = trial_warped, trial_weight
            if gain < 1e-5 * cost:
                break
        return transform, cost

    def _increment(self, step: NDArray[np.float64], center: NDArray[np.float64]) -> NDArray[np.float64]:
        """4x4 world transform of a step of the parameters."""
        generator = np.zeros((4, 4))
        generator[:3] = np.einsum("p,pwh->wh", step, self.basis.numpy())
        shift = np.eye(4)
        shift[:3, 3] = center
        return shift @ expm(generator) @ np.linalg.inv(shift)


def _basis(kind: AffineKind) -> NDArray[np.float64]:
    """(P, 3, 4): the displacement (W | t) of each parameter; translations last."""
    translations = [np.concatenate([np.zeros((3, 3)), column[:, None]], axis=1) for column in np.eye(3)]
    if kind == "affine":
        linear = [np.outer(a, b) for a in np.eye(3) for b in np.eye(3)]
    else:
        linear = [np.outer(np.eye(3)[a], np.eye(3)[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        linear = [one - one.T for one in linear] + ([np.eye(3)] if kind == "similarity" else [])
    # Scaled so that unit steps of all parameters move a point 100 mm from the centre by about 1 mm.
    return np.stack([np.concatenate([w / 100, np.zeros((3, 1))], axis=1) for w in linear] + translations)


def _warped(fixed: FeatureMap, moving: FeatureMap, transform: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Moving features warped to the fixed grid, and the product of both trusts."""
    to_cube = (
        moving.grid.matrix(Frame.WORLD_RAS, Frame.TORCH_CUBE)
        @ transform
        @ fixed.grid.matrix(Frame.VOXEL, Frame.WORLD_RAS)
    )
    warped = sample_affine(moving.features[0], to_cube, fixed.grid.shape)[None]
    inside = sample_affine(moving.inside[0], to_cube, fixed.grid.shape, fill=0.0)[None]
    return warped, fixed.inside * inside


def _cost(
    fixed: FeatureMap, moving: FeatureMap, warped: Tensor, weight: Tensor, scale: Tensor | None
) -> tuple[float, Tensor]:
    """Weighted mean of Cauchy's function of the residual, and its scale (by default the mean residual).

    Infinite where the overlap, measured by volume, is below ``MIN_OVERLAP``.
    """
    residual = (fixed.features - warped).square().sum(1, keepdim=True)
    total = weight.sum()
    if scale is None:
        scale = ((residual * weight).sum() / total.clamp_min(1e-6)).clamp_min(1e-8)
    voxels = float(moving.grid.spacing.prod() / fixed.grid.spacing.prod())
    if total < MIN_OVERLAP * min(float(fixed.inside.sum()), float(moving.inside.sum()) * voxels):
        return float("inf"), scale
    return float(((residual / scale).log1p() * weight).sum() / total), scale


def _sum_up(matrix: Tensor, rhs: Tensor, design: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normal equations of the parameters from those of all voxels; ``design`` is (N, 3, P)."""
    a, b, c, d, e, f = matrix[0].flatten(1)
    full = torch.stack([torch.stack([a, b, c]), torch.stack([b, d, e]), torch.stack([c, e, f])])
    moved = torch.einsum("vwn,nwp->nvp", full, design)
    p = design.shape[2]
    normal = moved.reshape(-1, p).T @ design.reshape(-1, p)
    gradient = design.reshape(-1, p).T @ rhs[0].flatten(1).T.reshape(-1)
    return normal.double().cpu().numpy(), gradient.double().cpu().numpy()
