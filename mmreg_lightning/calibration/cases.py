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

from mmreg_lightning.benchmark.plan import Case
from mmreg_lightning.calibration.surface_error import surface_errors
from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation, perturb
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score
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
    pairs: Sequence[Pair[ImageFiles]], perturbations: Sequence[Perturbation], variants: int, seed: int
) -> Iterator[Case]:
    """Each pair as it is, then ``variants`` changes of it: every kind in turn, its level drawn.

    Args:
        pairs: to be registered.
        perturbations: kinds with their levels.
        variants: of each pair.
        seed: of the draw.
    """
    turn = 0
    for pair in pairs:
        yield Case(pair)
        rng = np.random.default_rng([seed, zlib.crc32(pair.name.encode())])
        for _ in range(variants if perturbations else 0):
            kind = perturbations[turn % len(perturbations)]
            turn += 1
            yield Case(pair, kind, float(rng.choice(list(kind.levels[1:]))))


def measure_cases(
    jobs: Sequence[Case],
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
    held: tuple[str, Pair[Image]] | None = None
    for done, job in enumerate(jobs):
        progress(done, len(jobs))
        files, kind, level = job.files, job.perturbation, job.level
        change = "none" if kind is None else kind.name
        path = folder / f"{files.name}_{change}_{level:g}.npz"
        if not path.is_file():
            if held is None or held[0] != files.name:
                held = (files.name, files.read())
            pair = held[1]
            try:
                if kind is not None:
                    pair = perturb(pair, kind, level, files.name, seed, settings.label_names)
                measured = _measure(pair, settings)
            except UserError:
                continue
            with atomic_path(path) as temporary, open(temporary, "wb") as stream:
                np.savez_compressed(stream, **measured)
        with np.load(path) as arrays:
            wide = {name: arrays[name].astype(np.float64) for name in ("cues", "errors", "sample")}
            dice, before = float(arrays["dice"]), float(arrays["dice_before"])
        cases.append(MeasuredCase(files.name, change, level, **wide, dice=dice, dice_before=before))
    progress(len(jobs), len(jobs))
    return cases


def _measure(pair: Pair[Image], settings: Settings) -> dict[str, Any]:
    fixed, moving = pair.fixed.labels, pair.moving.labels
    assert fixed is not None and moving is not None, "pairs without labels are not chosen"
    maps = extract(pair, settings)
    found = solve(maps, settings.solver)
    cues = solution_cues(found, maps, settings.solver)
    warped = warp_volume(moving, found.displacement, fixed.grid, "nearest")
    voxels, errors = surface_errors(fixed.data, warped.data, fixed.grid)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(errors), min(_PLACES, len(errors)), replace=False)
    at_voxels = resample_volume(Volume(cues.maps[0], found.feature_grid), fixed.grid).data.numpy()
    row = score(pair, found.displacement, settings.label_names).row()
    return {
        "cues": at_voxels[(slice(None), *voxels[chosen].T)].T.astype(np.float32),
        "errors": errors[chosen].astype(np.float32),
        "sample": _weighted_sample(cues).astype(np.float32),
        "dice": row["dice"],
        "dice_before": row["dice_before"],
    }


def _weighted_sample(cues: Cues) -> NDArray[np.float32]:
    """(M, 5), drawn at equal steps of the cumulated weight, which varies less than a random draw."""
    flat = cues.maps[0].flatten(1).T.numpy()
    cumulated = torch.cumsum(cues.weight.flatten().double(), 0).numpy()
    steps = (np.arange(_PLACES) + 0.5) / _PLACES * cumulated[-1]
    return flat[np.minimum(np.searchsorted(cumulated, steps), len(flat) - 1)]
