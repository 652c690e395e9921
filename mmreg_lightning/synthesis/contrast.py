"""Mean intensity of each region in a view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STYLES = ("ct", "mr", "random")
HU = {  # lowest and highest mean in Hounsfield units
    "air": (-1010, -990), "gas": (-1000, -800), "lung": (-900, -650), "fat": (-125, -75), "soft": (10, 75),
    "fluid": (-8, 25), "blood": (30, 60), "bone": (280, 1200), "marrow": (60, 350),
}  # fmt: skip
CONTRAST_AGENT = {"soft": 90.0, "blood": 260.0, "fluid": 0.0}
"""Largest rise by a contrast agent in Hounsfield units; a region takes its own share."""
SIGNAL = {  # lowest and highest relative signal, T1-weighted and T2-weighted
    "air": ((0.0, 0.02), (0.0, 0.02)), "gas": ((0.0, 0.04), (0.0, 0.04)), "lung": ((0.02, 0.12), (0.02, 0.12)),
    "fat": ((0.8, 1.0), (0.55, 0.9)), "soft": ((0.25, 0.65), (0.12, 0.7)), "fluid": ((0.08, 0.25), (0.8, 1.1)),
    "blood": ((0.05, 0.9), (0.05, 0.6)), "bone": ((0.02, 0.1), (0.02, 0.1)), "marrow": ((0.35, 0.9), (0.25, 0.75)),
}  # fmt: skip
_GUESSES = ("soft", "fat", "fluid", "bone", "blood", "marrow")
_GUESSED = (0.6, 0.12, 0.1, 0.06, 0.06, 0.06)
_ALIKE = 0.85
"""Share of the views in which regions of one material have one mean."""


def draw_means(
    rng: np.random.Generator, style: str, tissues: Sequence[str], neighbours: NDArray[np.integer], merge: float
) -> NDArray[np.float32]:
    """Mean intensity of each region: Hounsfield units for ``ct``, else mostly within [0, 1].

    Args:
        rng: draws them.
        style: one of ``STYLES``; ``random`` knows nothing of tissues but that air is mostly dark.
        tissues: see ``LabelMap``.
        neighbours: (N, 2) pairs of regions that touch.
        merge: largest share of the touching pairs, air apart, that get one mean: their border is
            seen in other views only.
    """
    names = [tissue.partition(":")[0] for tissue in tissues]
    kinds = [str(rng.choice(_GUESSES, p=_GUESSED)) if name == "any" else name for name in names]
    if style == "ct":
        means = _ct(rng, kinds)
    elif style == "mr":
        means = _mr(rng, kinds)
    else:
        means = rng.uniform(0, 1, len(kinds))
        if rng.random() < 0.8:
            means[[name == "air" for name in names]] = rng.uniform(0, 0.05)
    if style == "random" or rng.random() < _ALIKE:
        first: dict[str, float] = {}
        for region, tissue in enumerate(tissues):
            if ":" in tissue and rng.random() < _ALIKE:
                means[region] = first.setdefault(tissue, float(means[region]))
    share = rng.uniform(0, merge)
    for one, other in rng.permutation(neighbours):
        if "air" not in (names[one], names[other]) and rng.random() < share:
            means[other] = means[one]
    return means.astype(np.float32)


def _ct(rng: np.random.Generator, kinds: Sequence[str]) -> NDArray[np.float64]:
    dose = rng.choice([0.0, 1.0]) * rng.uniform(0.2, 1)
    means = [rng.uniform(*HU[kind]) + dose * rng.uniform(0, 1) * CONTRAST_AGENT.get(kind, 0.0) for kind in kinds]
    return np.array(means)


def _mr(rng: np.random.Generator, kinds: Sequence[str]) -> NDArray[np.float64]:
    weighting = rng.beta(0.6, 0.6)
    suppressed = rng.uniform(0.1, 0.4) if rng.random() < 0.3 else 1.0
    means = []
    for kind in kinds:
        t1, t2 = (rng.uniform(*bounds) for bounds in SIGNAL[kind])
        signal = (1 - weighting) * t1 + weighting * t2
        means.append(signal * suppressed if kind in ("fat", "marrow") else signal)
    return np.array(means)


def touching(regions: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pairs (N, 2) of regions that share a face of a voxel, each once."""
    count = int(regions.max()) + 1
    wide = regions.astype(np.int64)
    seen = np.zeros(count * count, bool)
    for axis in range(3):
        a, b = (np.moveaxis(wide, axis, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
        differ = a != b
        seen[np.minimum(a, b)[differ] * count + np.maximum(a, b)[differ]] = True
    return np.stack(np.divmod(np.flatnonzero(seen), count), axis=1)
