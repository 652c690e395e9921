"""Sheared grids, and the rigid grids that stand in for them where files cannot hold a shear."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid

_ORTHONORMAL = 9e-5  # ITK refuses a NIfTI whose directions are further than 1e-4 from orthonormal
_NEARLY = 0.1  # voxels
_SHAPE_TOLERANCE = 1e-3  # voxels: rounding must not add a slice


def is_rigid(affine: NDArray[np.float64]) -> bool:
    """Whether the axes of a 4x4 affine are at right angles to each other, as ITK's images, qforms and DICOM need."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(direction @ direction.T - np.eye(3)).max() <= _ORTHONORMAL)


def without_shear(grid: Grid) -> Grid:
    """The same voxels with the closest rigid directions, about the same centre.

    The directions are the orthogonal factor of the polar decomposition, which is closest in the Frobenius norm
    (N. Higham, Matrix nearness problems and applications, 1989).
    """
    return _about(_closest(grid.direction), grid.spacing, grid.shape, grid.center)


def is_nearly_rigid(grid: Grid) -> bool:
    """Whether no voxel is further than a tenth of a voxel from its place in ``without_shear``: rounding of headers."""
    return farthest(grid.affine, without_shear(grid).affine, grid.shape) <= _NEARLY * grid.spacing.min()


def rigid_grid(grid: Grid) -> Grid:
    """The rigid grid for an image on a sheared one: it covers the whole field of view. A rigid grid is its own.

    Where two axes are at right angles they stay, so that the slices of a tilted gantry remain slices; the third one
    is the normal of both, with the distance of the slices as its spacing. Otherwise see ``without_shear``.
    """
    if is_rigid(grid.affine):
        return grid
    if is_nearly_rigid(grid):
        return without_shear(grid)
    direction, spacing = _closest(grid.direction), grid.spacing
    for a, b in ((0, 1), (0, 2), (1, 2)):
        if abs(grid.direction[:, a] @ grid.direction[:, b]) <= _ORTHONORMAL:
            third = 3 - a - b
            normal = np.cross(grid.direction[:, a], grid.direction[:, b])
            height = float(normal @ grid.affine[:3, third])
            direction = np.array(grid.direction)
            direction[:, third] = normal * np.sign(height)
            direction, spacing = _closest(direction), np.array(spacing)
            spacing[third] = abs(height)
            break
    corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.shape))))
    along = (transform_points(grid.affine, corners) - grid.center) @ direction
    size = np.ceil((along.max(axis=0) - along.min(axis=0)) / spacing - _SHAPE_TOLERANCE).astype(int)
    return _about(direction, spacing, (int(size[0]), int(size[1]), int(size[2])), grid.center)


def farthest(first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    """The largest distance, mm, between the places of one voxel under two 4x4 affines."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape))), dtype=np.float64)
    apart = transform_points(first, corners) - transform_points(second, corners)
    return float(np.linalg.norm(apart, axis=1).max())


def _closest(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, vt = np.linalg.svd(direction)
    return np.asarray(u @ vt)


def _about(
    direction: NDArray[np.float64],
    spacing: NDArray[np.float64],
    shape: tuple[int, int, int],
    center: NDArray[np.float64],
) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)
