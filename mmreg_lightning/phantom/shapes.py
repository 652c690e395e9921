"""Implicit shapes: approximate signed distances (mm, negative inside) of points (3, N)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """Rotation matrix (3, 3): about the first, then the second, then the third axis."""
    cx, cy, cz = np.cos(np.deg2rad(degrees))
    sx, sy, sz = np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def ellipsoid(points: np.ndarray, centre: np.ndarray, radii: np.ndarray, turn: np.ndarray | None = None) -> np.ndarray:
    """Distance to an ellipsoid, exact to first order at its surface: k (k - 1) / |grad k| with k = |p / r|."""
    local = points - np.asarray(centre, np.float32)[:, None]
    if turn is not None:
        local = turn.T @ local
    scaled = local / np.asarray(radii, np.float32)[:, None]
    k = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    scaled /= np.asarray(radii, np.float32)[:, None]
    slope = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    return k * (k - 1) / np.maximum(slope, 1e-6)


def tube(points: np.ndarray, nodes: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Distance to a chain of round cones through ``nodes`` (M, 3) with ``radii`` (M,)."""
    return segments(points, nodes[:-1], nodes[1:], radii[:-1], radii[1:])


def segments(
    points: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii_from: np.ndarray, radii_to: np.ndarray
) -> np.ndarray:
    """Distance to a union of round cones from ``starts`` (M, 3) to ``ends`` (M, 3)."""
    distance = np.full(points.shape[1], np.inf, np.float32)
    for a, b, r0, r1 in zip(starts, ends, radii_from, radii_to, strict=True):
        axis = (b - a).astype(np.float32)
        local = points - a.astype(np.float32)[:, None]
        along = np.clip(axis @ local / np.float32(max(axis @ axis, 1e-6)), 0, 1)
        local -= axis[:, None] * along
        radius = np.float32(r0) + np.float32(r1 - r0) * along
        np.minimum(distance, np.sqrt(np.einsum("in,in->n", local, local)) - radius, out=distance)
    return distance


def smooth_union(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Union of two shapes, smoothed over ``width`` mm (polynomial smooth minimum)."""
    h = np.maximum(width - np.abs(a - b), 0) / np.float32(width)
    return np.minimum(a, b) - h * h * np.float32(width / 4)


def near(points: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Indices of the points in the box from ``lower`` (3,) to ``upper`` (3,) mm."""
    inside = (points[2] > lower[2]) & (points[2] < upper[2])
    for axis in (0, 1):
        inside &= (points[axis] > lower[axis]) & (points[axis] < upper[axis])
    return np.flatnonzero(inside)


def vessel_tree(
    rng: np.random.Generator, root: np.ndarray, direction: np.ndarray, length: float, radius: float, depth: int
) -> list[tuple[np.ndarray, np.ndarray, float, float]]:
    """Segments (start, end, radius, radius) of a tree that forks ``depth`` times, with radii by Murray's law."""
    direction = direction / np.linalg.norm(direction)
    end = root + direction * length
    thinner = radius * 2 ** (-1 / 3)
    branch = [(root, end, radius, thinner)]
    if depth > 0:
        sideways = np.cross(direction, rng.standard_normal(3))
        sideways /= np.linalg.norm(sideways)
        for sign in (-1.0, 1.0):
            turned = direction + sign * rng.uniform(0.35, 0.8) * sideways
            branch += vessel_tree(rng, end, turned, length * rng.uniform(0.65, 0.9), thinner, depth - 1)
    return branch
