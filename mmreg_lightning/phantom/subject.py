"""One subject of the phantom in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.anatomy import Anatomy
from mmreg_lightning.phantom.displacement import KnownDisplacement
from mmreg_lightning.phantom.layers import paint_labels
from mmreg_lightning.phantom.render_ct import render_ct
from mmreg_lightning.phantom.render_mr import render_mr

FIELD_OF_VIEW = 384.0
"""Extent (mm) of the first axis when no spacing is given."""
MIN_SIZE = 16
LANDMARKS = 100


@dataclass(frozen=True)
class PhantomSubject:
    """An MR and a CT of one random anatomy, on one grid.

    Attributes:
        mr, ct: (I, J, K) float32 images; the CT in HU.
        mr_labels, ct_labels: (I, J, K) uint8 labels, ids of ``layers.LABELS``.
        displacement: (3, I, J, K) float32, fixed MR to moving CT, in voxels: x in the MR is x + u(x) in the CT.
        mr_landmarks, ct_landmarks: (P, 3) corresponding points in voxel coordinates.
        affine: (4, 4) voxel to world RAS mm; the world's origin is the centre of the grid.
    """

    mr: np.ndarray
    ct: np.ndarray
    mr_labels: np.ndarray
    ct_labels: np.ndarray
    displacement: np.ndarray
    mr_landmarks: np.ndarray
    ct_landmarks: np.ndarray
    affine: np.ndarray


def check_grid(size: Sequence[int], spacing: float | Sequence[float] | None) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (I, J, K) and voxel size (3,) mm of a grid; ``spacing`` None is 384 mm over the first axis.

    Raises:
        UserError: a size is below ``MIN_SIZE``, or a spacing is not a positive number.
    """
    if len(size) != 3 or min(size) < MIN_SIZE:
        raise UserError(f"size={list(size)}: must be three numbers of voxels, each {MIN_SIZE} or more")
    given = FIELD_OF_VIEW / size[0] if spacing is None else spacing
    steps = np.atleast_1d(np.asarray(given, dtype=float))
    if steps.shape not in ((1,), (3,)) or not np.isfinite(steps).all() or (steps <= 0).any():
        raise UserError(f"spacing={spacing}: must be one or three positive numbers of mm")
    return (int(size[0]), int(size[1]), int(size[2])), np.broadcast_to(steps, (3,)).copy()


def make_subject(
    seed: int,
    index: int,
    size: Sequence[int],
    spacing: float | Sequence[float] | None = None,
    intra_displacement: float = 15.0,
) -> PhantomSubject:
    """Subject ``index`` of ``seed``, whose anatomy does not depend on the grid.

    Args:
        seed: seed of the data set, 0 or more.
        index: number of the subject, 0 or more.
        size: I, J, K voxels along right, anterior, superior.
        spacing: voxel size in mm, one number or three; by default 384 mm over I.
        intra_displacement: upper bound in mm of the known displacement between MR and CT; 0 for none.

    Raises:
        UserError: an argument is out of range.
    """
    shape, steps = check_grid(size, spacing)
    if seed < 0 or index < 0:
        raise UserError(f"seed={seed} and index={index}: must be 0 or more")
    if not (np.isfinite(intra_displacement) and intra_displacement >= 0):
        raise UserError(f"intra_displacement={intra_displacement}: must be 0 mm or more")
    anatomy_rng, field_rng, ct_rng, mr_rng, noise_rng, point_rng = _streams(seed, index)

    anatomy = Anatomy(anatomy_rng)
    known = KnownDisplacement(field_rng, intra_displacement)
    affine = centred_affine(shape, steps)
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * step for n, step in zip(shape, steps, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).astype(np.float32)
    count = points.shape[1]

    layers, texture = anatomy.sample(points)
    ct = render_ct(layers, texture, shape, steps, ct_rng, noise_rng)
    ct_labels = paint_labels(layers, count).reshape(shape)

    field = known(points)
    layers, texture = anatomy.sample(points + field)
    mr = render_mr(layers, texture, points, shape, steps, mr_rng, noise_rng)
    mr_labels = paint_labels(layers, count).reshape(shape)

    displacement = (field / steps.astype(np.float32)[:, None]).reshape(3, *shape)
    mr_landmarks, ct_landmarks = draw_landmarks(point_rng, anatomy, known, affine, shape)
    return PhantomSubject(mr, ct, mr_labels, ct_labels, displacement, mr_landmarks, ct_landmarks, affine)


def known_displacement(seed: int, index: int, intra_displacement: float) -> KnownDisplacement:
    """The displacement of ``make_subject`` with these arguments."""
    return KnownDisplacement(_streams(seed, index)[1], intra_displacement)


def _streams(seed: int, index: int) -> list[np.random.Generator]:
    """Independent generators of anatomy, displacement, CT, MR, noise and landmarks."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence([seed, index]).spawn(6)]


def centred_affine(shape: tuple[int, int, int], spacing: np.ndarray) -> np.ndarray:
    """(4, 4) voxel to world RAS mm, with the origin of the world at the centre of the grid."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    return affine


def draw_landmarks(
    rng: np.random.Generator,
    anatomy: Anatomy,
    known: KnownDisplacement,
    affine: np.ndarray,
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Voxel coordinates (P, 3) in MR and in CT of random corresponding points inside the body and both images."""
    spacing = np.diag(affine)[:3]
    half = np.minimum([192.0, 160.0, 192.0], np.array(shape) * spacing / 2)[:, None]
    candidates = rng.uniform(-half, half, (3, 8 * LANDMARKS)).astype(np.float32)
    partners = candidates + known(candidates)
    to_voxel = np.linalg.inv(affine)
    mr = (to_voxel[:3, :3] @ candidates + to_voxel[:3, 3:]).T
    ct = (to_voxel[:3, :3] @ partners + to_voxel[:3, 3:]).T
    upper = np.array(shape) - 1
    seen = ((mr >= 0) & (mr <= upper) & (ct >= 0) & (ct <= upper)).all(axis=1)
    frame = anatomy.frame(partners)
    inside = np.zeros(len(seen), bool)
    inside[frame.index] = frame.skin < -5
    chosen = np.flatnonzero(seen & inside)[:LANDMARKS]
    return mr[chosen], ct[chosen]
