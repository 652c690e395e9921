"""Register one pair from files and write every result."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mmreg_lightning import __version__
from mmreg_lightning.checkpoint import load_checkpoint
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import new_output_dir, sha256, write_json, write_text
from mmreg_lightning.geometry.fields import write_itk_field
from mmreg_lightning.geometry.nifti import write_image
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.inputs import PairFiles, read_pair
from mmreg_lightning.memory import peak_memory_mb
from mmreg_lightning.registration import AFFINES, Affine, Registration, Stopwatch, register_pair
from mmreg_lightning.report import write_report
from mmreg_lightning.scores import Scores, score
from mmreg_lightning.settings import Settings, default_spacing, resolve_settings
from mmreg_lightning.solvers.protocol import Progress

__all__ = ["PairFiles", "Registration", "Result", "load_checkpoint", "register_files", "register_pair", "register_with"]

# In the order in which they are written: where the last one lies, all the others do.
OUTPUTS = ("warped.nii.gz", "displacement.itk.nii.gz", "run.yaml", "report.png", "metrics.json")


@dataclass(frozen=True)
class Result:
    """What ``register_files`` has done.

    Attributes:
        folder: where the files lie.
        registration: fields and features.
        scores: of the registration.
        metrics: content of metrics.json.
    """

    folder: Path
    registration: Registration
    scores: Scores
    metrics: dict[str, Any]


def register_files(
    files: PairFiles,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    affine: Affine = "none",
    spacing: float | None = None,
    solver: str | None = None,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> Result:
    """Register a pair of files with what ``resolve_settings`` makes of the options; see ``register_with``.

    Args:
        files, out, affine, overwrite, progress, command: see ``register_with``.
        checkpoint, fixed_modality, moving_modality, spacing, solver, overrides: see ``resolve_settings``.

    Raises:
        UserError: an input, option or the output folder cannot be used.
    """
    watch = Stopwatch()
    with watch.stage("settings"):
        settings = resolve_settings(
            checkpoint,
            fixed_modality=fixed_modality,
            moving_modality=moving_modality,
            spacing=spacing,
            solver=solver,
            overrides=overrides,
        )
    return register_with(
        files,
        out,
        settings,
        affine=affine,
        overwrite=overwrite,
        progress=progress,
        command=command,
        watch=watch,
    )


def register_with(
    files: PairFiles,
    out: str | Path,
    settings: Settings,
    *,
    affine: Affine = "none",
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
    watch: Stopwatch | None = None,
) -> Result:
    """Register a pair of files and write warped.nii.gz, displacement.itk.nii.gz, run.yaml, report.png, metrics.json.

    The warped image and the field are on the fixed image's own grid and in its axis order. Nothing is written
    before everything is checked and computed, and metrics.json is written last.

    Args:
        files: the pair, and what to score it with.
        out: folder for the results, created if need be.
        settings: features, solver and what else there is to choose; without a spacing it is ``default_spacing``.
        affine, progress: see ``register_pair``.
        overwrite: replace the results of an earlier registration in ``out``.
        command: the command line, for run.yaml.
        watch: has run since the command began; None starts one.

    Raises:
        UserError: an input or the output folder cannot be used.
    """
    watch = Stopwatch() if watch is None else watch
    if affine not in AFFINES:
        raise UserError(f"--affine {affine}: must be one of {', '.join(AFFINES)}")
    existing = [name for name in OUTPUTS if (Path(out) / name).exists()]
    if existing and not overwrite:
        raise UserError(
            f"--out {out} holds {existing[0]} of an earlier run already: name another folder or add --overwrite"
        )
    with watch.stage("read"):
        pair = read_pair(files)
    working_spacing = settings.spacing or default_spacing(pair.fixed.grid)
    with new_output_dir(out) as folder:
        registration = register_pair(
            pair.fixed,
            pair.moving,
            features=settings.features,
            solver=settings.solver,
            spacing=working_spacing,
            fixed_modality=settings.fixed_modality,
            moving_modality=settings.moving_modality,
            normalisation=settings.normalisation,
            mass=settings.display,
            affine=affine,
            progress=progress,
        )
    watch.seconds.update(registration.seconds)
    with watch.stage("warp"):
        warped = warp_volume(pair.moving, registration.displacement, pair.fixed.grid)
    with watch.stage("score"):
        scores = score(pair, registration.displacement, settings.label_names)
    with watch.stage("write"):
        # Stopped half-way, the folder must not hold a mixture of old and new files.
        for name in reversed(OUTPUTS):
            (folder / name).unlink(missing_ok=True)
        write_image(warped, folder / "warped.nii.gz", like=pair.fixed)
        field = folder / "displacement.itk.nii.gz"
        write_itk_field(registration.displacement, pair.fixed.grid, field, like=pair.fixed)
        run = {
            **_provenance(files, settings.checkpoint, command),
            "settings": _plain(settings, working_spacing, affine),
            "initial_affine_ras_mm": np.asarray(registration.initial).tolist(),
        }
        write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False, width=100))
    with watch.stage("report"):
        write_report(folder / "report.png", pair, settings, registration, warped, scores)
    metrics = {
        **asdict(scores),
        "seconds": {**watch.seconds, "total": watch.total()},
        "peak_memory_mb": peak_memory_mb(),
    }
    write_json(folder / "metrics.json", metrics)
    return Result(folder, registration, scores, metrics)


def _provenance(files: PairFiles, checkpoint: Path | None, command: str | None) -> dict[str, Any]:
    inputs = files.named() | ({} if checkpoint is None else {"checkpoint": checkpoint})
    return {
        "command": command,
        "versions": {
            "mmreg_lightning": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "inputs": {name: {"path": str(path), "sha256": sha256(path)} for name, path in inputs.items()},
    }


def _plain(settings: Settings, spacing: float | Sequence[float], affine: str) -> dict[str, Any]:
    return {
        "features": dict(settings.features_config),
        "fixed_modality": settings.fixed_modality,
        "moving_modality": settings.moving_modality,
        "normalisation": {
            name: dict(settings.normalisation[name])
            for name in dict.fromkeys((settings.fixed_modality, settings.moving_modality))
        },
        "spacing_mm": spacing if isinstance(spacing, float | int) else list(spacing),
        "affine": affine,
        "solver": dict(settings.solver_config),
    }
