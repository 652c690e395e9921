"""Phantom subjects of one seed, each computed once, and measures of their labels."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from mmreg_lightning.phantom.layers import LABEL_IDS, LABELS
from mmreg_lightning.phantom.subject import PhantomSubject, make_subject

SIZE = (64, 54, 64)
SUBJECTS = 4


@cache
def subject(index: int, size: tuple[int, int, int] = SIZE, intra_displacement: float = 15.0) -> PhantomSubject:
    return make_subject(7, index, size, intra_displacement=intra_displacement)


def mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    scores = [2 * np.sum((a == n) & (b == n)) / (np.sum(a == n) + np.sum(b == n)) for n in LABELS if n]
    return float(np.mean(scores))


def centroid(labels: np.ndarray, name: str) -> np.ndarray:
    return np.argwhere(labels == LABEL_IDS[name]).mean(axis=0)


def inside(labels: np.ndarray, name: str) -> np.ndarray:
    """The organ without its surface, where voxels are mixed with the neighbours."""
    return ndimage.binary_erosion(labels == LABEL_IDS[name])
