"""Registrations whose errors are known, for calibration and for its test; each is kept on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmreg_lightning.calibration.surface_error import surface_errors
from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.data.pair import PairData, pair_files, read_pair
from mmreg_lightning.data.perturbed import Perturbation, perturb
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.registration.settings import Settings, default_spacing
from mmreg_lightning.registration.solve import cues_of, extract_features, solve_pair

_PLACES = 3000  # of a case on organ surfaces, and as many for the mean over it
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeasuredCase:
    """One registration.

    Attributes:
        pair: its name.
        change: perturbation, "none" for the pair as it is.
        level: of it.
        cues: (N, 5) at places on organ surfaces, see ``Cues``.
        errors: (N,) mm, see ``surface_errors``.
        sample: (M, 5) cues at places drawn by ``Cues.weight``: their mean is the weighted mean over the image.
        dice: mean over organs.
        dice_before: the same before the registration.
    """

    pair: str
    change: str
    level: float
    cues: Floats
    errors: Floats
    sample: Floats
    dice: float
    dice_before: float


def draw_changes(
    pairs: Sequence[PairRecord], perturbations: Sequence[Perturbation], variants: int, seed: int
) -> Iterator[tuple[PairRecord, Perturbation | None, float]]:
    """Each pair as it is, then ``variants`` changes of it: every kind in turn, its level drawn.

    Args:
        pairs: to be registered.
        perturbations: kinds with their levels.
        variants: of each pair.
        seed: of the draw.
    """
    turn = 0
    for pair in pairs:
        yield pair, None, 0.0
        rng = np.random.default_rng([seed, zlib.crc32(pair.name.encode())])
        for _ in range(variants if perturbations else 0):
            kind = perturbations[turn % len(perturbations)]
            turn += 1
            yield pair, kind, float(rng.choice(list(kind.levels[1:])))


def measure_cases(
    jobs: Sequence[tuple[PairRecord, Perturbation | None, float]],
    settings: Settings,
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[MeasuredCase]:
    """Register and measure; what ``folder`` holds already is read.

    A job that cannot be registered (nothing of the images overlaps any more) is left out.

    Args:
        jobs: of ``draw_changes``.
        settings: features, solver and so on.
        folder: of the cases.
        seed: of what perturbations draw.
        progress: called with (done, in all).
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    held: tuple[str, PairData] | None = None
    for done, (pair, kind, level) in enumerate(jobs):
        progress(done, len(jobs))
        change = "none" if kind is None else kind.name
        path = folder / f"{pair.name}_{change}_{level:g}.npz"
        if not path.is_file():
            if held is None or held[0] != pair.name:
                held = (pair.name, read_pair(pair_files(pair)))
            data = held[1]
            try:
                if kind is not None:
                    data = perturb(data, kind, level, pair.name, seed, settings.label_names)
                measured = _measure(data, settings)
            except UserError:
                continue
            with atomic_path(path) as temporary, open(temporary, "wb") as stream:
                np.savez_compressed(stream, **measured)
        with np.load(path) as arrays:
            wide = {name: arrays[name].astype(np.float64) for name in ("cues", "errors", "sample")}
            dice, before = float(arrays["dice"]), float(arrays["dice_before"])
        cases.append(MeasuredCase(pair.name, change, level, **wide, dice=dice, dice_before=before))
    progress(len(jobs), len(jobs))
    return cases


def _measure(data: PairData, settings: Settings) -> dict[str, Any]:
    assert data.labels is not None, "pairs without labels are not chosen"
    features = extract_features(
        data.fixed,
        data.moving,
        features=settings.features,
        spacing=settings.spacing or default_spacing(data.fixed.grid),
        fixed_modality=settings.fixed_modality,
        moving_modality=settings.moving_modality,
        normalisation=settings.normalisation,
    )
    found = solve_pair(features, settings.solver)
    cues = cues_of(found, features, settings.solver)
    grid = data.fixed.grid
    warped = warp_volume(data.labels[1], found.displacement, grid, "nearest")
    voxels, errors = surface_errors(data.labels[0].data, warped.data, grid)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(errors), min(_PLACES, len(errors)), replace=False)
    maps = resample_volume(Volume(cues.maps[0], found.feature_grid), grid).data.numpy()
    scores = score(data, found.displacement, settings.label_names)
    assert scores.dice_before is not None and scores.dice_after is not None
    return {
        "cues": maps[(slice(None), *voxels[chosen].T)].T.astype(np.float32),
        "errors": errors[chosen].astype(np.float32),
        "sample": _weighted_sample(cues).astype(np.float32),
        "dice": scores.dice_after["mean"],
        "dice_before": scores.dice_before["mean"],
    }


def _weighted_sample(cues: Cues) -> NDArray[np.float32]:
    """(M, 5), drawn at equal steps of the cumulated weight, which varies less than a random draw."""
    flat = cues.maps[0].flatten(1).T.numpy()
    cumulated = torch.cumsum(cues.weight.flatten().double(), 0).numpy()
    steps = (np.arange(_PLACES) + 0.5) / _PLACES * cumulated[-1]
    return flat[np.minimum(np.searchsorted(cumulated, steps), len(flat) - 1)]
