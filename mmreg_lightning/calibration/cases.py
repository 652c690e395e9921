"""Registrations whose errors are known, for a calibration and for its test; each one is kept on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.benchmark.plan import Case
from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.evaluation.surface import surface_errors
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.registration.settings import Settings
from mmreg_lightning.registration.solve import extract, solution_cues, solve

_PLACES = 3000  # of a case on organ surfaces, and as many for the mean over it
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeasuredCase:
    """One registration.

    Attributes:
        source: the pair and its change.
        cues: (N, 5) at places on organ surfaces, see ``Cues``.
        errors: (N,) mm, see ``surface_errors``.
        sample: (M, 5) cues at places drawn by ``Cues.weight``: their mean is the weighted mean over the image.
        dice, dice_before: mean over organs, after and before the registration.
    """

    source: Case
    cues: Floats
    errors: Floats
    sample: Floats
    dice: float
    dice_before: float


def draw_changes(
    pairs: Sequence[Pair[ImageFiles]], perturbations: Sequence[Perturbation], variants: int, seed: int
) -> Iterator[Case]:
    """Each pair as it is, then ``variants`` changes of it: every kind in turn, at a level drawn with ``seed``."""
    turn = 0
    for pair in pairs:
        yield Case(pair)
        rng = np.random.default_rng([seed, zlib.crc32(pair.name.encode())])
        for _ in range(variants if perturbations else 0):
            kind = perturbations[turn % len(perturbations)]
            turn += 1
            yield Case(pair, kind, float(rng.choice(list(kind.levels[1:]))))


def measure_cases(
    cases: Sequence[Case], settings: Settings, folder: Path, seed: int, progress: Callable[[int, int], None]
) -> list[MeasuredCase]:
    """Register and measure; what ``folder`` holds already is read.

    A case that cannot be registered (for example, the images no longer overlap) is left out.

    Args:
        cases: of ``draw_changes``.
        settings: of the registrations.
        folder: gets ``PAIR_CHANGE_LEVEL.npz``.
        seed: of what perturbations draw.
        progress: called with (done, total).

    Raises:
        UserError: a file of a pair cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    read = lru_cache(maxsize=1)(Pair[ImageFiles].read)
    measured = []
    for done, case in enumerate(cases):
        progress(done, len(cases))
        path = folder / f"{case.files.name}_{case.kind}_{case.level:g}.npz"
        if not path.is_file():
            pair = read(case.files)
            try:
                arrays = _measure(case.changed(pair, seed, settings.label_names), settings)
            except UserError:
                continue
            with atomic_path(path) as temporary, open(temporary, "wb") as stream:
                np.savez_compressed(stream, **arrays)
        with np.load(path) as stored:
            wide = (stored[key].astype(np.float64) for key in ("cues", "errors", "sample"))
            dice = (float(stored[key]) for key in ("dice", "dice_before"))
            measured.append(MeasuredCase(case, *wide, *dice))
    progress(len(cases), len(cases))
    return measured


def _measure(pair: Pair[Image], settings: Settings) -> dict[str, Any]:
    fixed, moving = pair.fixed.labels, pair.moving.labels
    assert fixed is not None and moving is not None, "pairs without labels are not chosen"
    maps = extract(pair, settings)
    found = solve(maps, settings.solver)
    cues = solution_cues(found, maps, settings.solver)
    warped = warp_volume(moving, found.displacement, fixed.grid, "nearest")
    voxels, errors = surface_errors(fixed.data, warped.data, fixed.grid.spacing.tolist())
    chosen = np.random.default_rng(0).choice(len(errors), min(_PLACES, len(errors)), replace=False)
    at_voxels = resample_volume(Volume(cues.maps[0], found.feature_grid), fixed.grid).data.numpy()
    row = score(pair, found.displacement, settings.label_names).row()
    return {
        "cues": at_voxels[(slice(None), *voxels[chosen].T)].T.astype(np.float32),
        "errors": errors[chosen].astype(np.float32),
        "sample": _weighted_sample(cues).astype(np.float32),
        **{key: row[key] for key in ("dice", "dice_before")},
    }


def _weighted_sample(cues: Cues) -> NDArray[np.float32]:
    """(M, 5), drawn at equal steps of the cumulated weight, which varies less than a random draw."""
    flat = cues.maps[0].flatten(1).T.numpy()
    cumulated = torch.cumsum(cues.weight.flatten().double(), 0).numpy()
    steps = (np.arange(_PLACES) + 0.5) / _PLACES * cumulated[-1]
    return flat[np.minimum(np.searchsorted(cumulated, steps), len(flat) - 1)]
