"""Register one pair from files and write every result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmreg_lightning.confidence.assess import Assessment, assess
from mmreg_lightning.confidence.model import ConfidenceModel, check_calibration, read_confidence
from mmreg_lightning.data.pair import PairData, PairFiles, read_pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import Scores, score
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.files import check_free, new_output_dir
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.working import working_grid
from mmreg_lightning.io.field_formats import FIELD_FORMATS, FieldFormat
from mmreg_lightning.io.transforms import TRANSFORM_SUFFIXES, read_affine
from mmreg_lightning.registration.initial_affine import AFFINES
from mmreg_lightning.registration.result import OUTPUTS, RegisteredPair, calibrated_setting, describe_run, write_outputs
from mmreg_lightning.registration.settings import Settings, default_spacing, resolve_settings
from mmreg_lightning.registration.solve import (
    Registration,
    Stopwatch,
    cues_of,
    extract_features,
    register_pair,
    solve_pair,
)
from mmreg_lightning.runtime import resolve_device
from mmreg_lightning.solvers.protocol import Progress

__all__ = [
    "OUTPUTS",
    "PairFiles",
    "Registration",
    "Result",
    "load_checkpoint",
    "register_data",
    "register_files",
    "register_pair",
    "register_with",
]

MAX_WORKING_VOXELS = 2**27
"""512 voxels a side: beyond it MIND-SSC alone needs 6 GB."""


@dataclass(frozen=True)
class Result:
    """What ``register_files`` has done.

    Attributes:
        folder: where the files lie.
        registration: fields and features.
        scores: of the registration.
        metrics: content of metrics.json.
        confidence: how far the registration is to be trusted, where that was asked for.
    """

    folder: Path
    registration: Registration
    scores: Scores
    metrics: dict[str, Any]
    confidence: Assessment | None = None


def register_files(
    files: PairFiles,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    affine: str = "none",
    spacing: float | None = None,
    solver: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    field_formats: Sequence[FieldFormat] = ("itk",),
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
    confidence: str | Path | None = None,
) -> Result:
    """Register a pair of files with what ``resolve_settings`` makes of the options; see ``register_with``.

    Args:
        files, out, affine, device, field_formats, overwrite, progress, command, confidence: see ``register_with``.
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
        device=device,
        field_formats=field_formats,
        overwrite=overwrite,
        progress=progress,
        command=command,
        watch=watch,
        confidence=confidence,
    )


def register_with(
    files: PairFiles,
    out: str | Path,
    settings: Settings,
    *,
    affine: str = "none",
    device: str = "auto",
    field_formats: Sequence[FieldFormat] = ("itk",),
    full: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
    watch: Stopwatch | None = None,
    confidence: str | Path | None = None,
) -> Result:
    """Register a pair of files and write what ``OUTPUTS`` names.

    Everything is on the fixed image's own grid and in its axis order, but for the inverse field, which is on the moving
    image's. Nothing is written before everything is checked and computed, and metrics.json is written last.

    Args:
        files: the pair, and what to score it with.
        out: folder for the results, created if need be.
        settings: features, solver and what else there is to choose; without a spacing it is ``default_spacing``.
        affine: one of ``AFFINES``, or the name of a transform file, see ``read_affine``.
        device: see ``resolve_device``.
        field_formats, full: see ``write_outputs``.
        overwrite: replace the results of an earlier registration in ``out``.
        progress: see ``register_pair``.
        command: the command line, for run.yaml.
        watch: has run since the command began; None starts one.
        confidence: file of ``mmreg-calibrate``, see ``read_model``.

    Raises:
        UserError: an input, option or the output folder cannot be used.
    """
    watch = Stopwatch() if watch is None else watch
    unknown = [name for name in field_formats if name not in FIELD_FORMATS]
    if unknown or not field_formats:
        given = " ".join(unknown)
        raise UserError(f"--field-format {given}: must be of {', '.join(FIELD_FORMATS)}, at least one")
    initial = read_initial(affine)
    model = None if confidence is None else read_model(confidence, settings)
    check_free(out, OUTPUTS, overwrite)
    with watch.stage("read"):
        pair = read_pair(files)
    with new_output_dir(out) as folder:
        result = register_data(
            pair,
            settings,
            affine=affine,
            initial=initial,
            device=device,
            progress=progress,
            watch=watch,
            confidence=model,
        )
    inputs = files.named()
    if confidence is not None:
        inputs["confidence"] = Path(confidence)
    if settings.checkpoint is not None:
        inputs["checkpoint"] = settings.checkpoint
    if isinstance(initial, np.ndarray):
        inputs["affine"] = Path(affine)
    metrics = write_outputs(result, folder, describe_run(inputs, command), field_formats, full)
    return Result(folder, result.registration, result.scores, metrics, result.confidence)


def register_data(
    pair: PairData,
    settings: Settings,
    *,
    affine: str = "none",
    initial: str | NDArray[np.float64] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    watch: Stopwatch | None = None,
    confidence: ConfidenceModel | None = None,
) -> RegisteredPair:
    """Register a pair in memory, warp its image and labels, and score it.

    Args:
        pair: see ``read_pair`` and ``checked_pair``.
        settings, affine, device, progress, watch: see ``register_with``.
        initial: of ``read_initial(affine)``, where it was read before.
        confidence: to judge the registration by, which needs another run of the solver; None does not.

    Raises:
        UserError: an option cannot be used; see ``register_pair``.
    """
    watch = Stopwatch() if watch is None else watch
    where = resolve_device(device)
    if isinstance(settings.features, nn.Module):
        settings.features.to(where)
    spacing = settings.spacing or default_spacing(pair.fixed.grid)
    check_working_size(pair.fixed.grid, spacing)
    features = extract_features(
        pair.fixed,
        pair.moving,
        features=settings.features,
        spacing=spacing,
        fixed_modality=settings.fixed_modality,
        moving_modality=settings.moving_modality,
        normalisation=settings.normalisation,
        mass=settings.display,
        affine=read_initial(affine) if initial is None else initial,  # type: ignore[arg-type] # checked there
        masks=pair.masks,
        device=where,
    )
    registration = solve_pair(features, settings.solver, progress)
    watch.seconds.update(registration.seconds)
    assessment = None
    if confidence is not None:
        with watch.stage("confidence"):
            cues = cues_of(registration, features, settings.solver)
            assessment = assess(confidence, cues, registration.feature_grid, pair.fixed)
    displacement, grid = registration.displacement, pair.fixed.grid
    with watch.stage("warp"):
        warped = warp_volume(pair.moving, displacement, grid)
        labels = pair.moving_labels
        warped_labels = None if labels is None else warp_volume(labels, displacement, grid, "nearest")
    with watch.stage("score"):
        scores = score(pair, displacement, settings.label_names)
    return RegisteredPair(
        pair, settings, spacing, affine, registration, warped, warped_labels, scores, watch, assessment
    )


def read_model(path: str | Path, settings: Settings) -> ConfidenceModel:
    """The confidence that a file of ``mmreg-calibrate`` holds, for registrations with these settings.

    Raises:
        UserError: it cannot be used, or was calibrated with another checkpoint, spacing or solver.
    """
    model = read_confidence(path)
    check_calibration(model, path, settings.checkpoint, calibrated_setting(settings))
    return model


def read_initial(affine: str) -> str | NDArray[np.float64]:
    """What ``--affine`` means: one of ``AFFINES`` as it is, else the 4x4 of a transform file.

    Raises:
        UserError: it is neither, or the file cannot be used.
    """
    if affine in AFFINES:
        return affine
    if not Path(affine).exists():
        if affine.endswith(TRANSFORM_SUFFIXES):
            raise UserError(f"--affine {affine}: there is no such file")
        raise UserError(f"--affine {affine}: must be one of {', '.join(AFFINES)}, or a transform file")
    return read_affine(affine)


def check_working_size(grid: Grid, spacing: float | Sequence[float]) -> None:
    """Check that an image's working grid is not larger than memory allows.

    Raises:
        UserError: it has more than ``MAX_WORKING_VOXELS``.
    """
    shape = working_grid(grid, spacing).shape
    if math.prod(shape) > MAX_WORKING_VOXELS:
        size = " x ".join(map(str, shape))
        raise UserError(f"--spacing {spacing}: the working grid would have {size} voxels, choose a larger one")
