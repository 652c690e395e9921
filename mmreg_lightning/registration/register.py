"""Registration from files or from memory: one path for the command, for batches and for Python."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmreg_lightning.confidence.assess import assess
from mmreg_lightning.data.pair import (
    FILE_NAMES,
    Image,
    ImageFiles,
    Pair,
    canonical_landmarks,
    check_pair,
    read_landmarks,
)
from mmreg_lightning.data.straight import straight_image
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.files import check_free, new_output_dir
from mmreg_lightning.geometry.placement import place_on
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import mask_of_labels
from mmreg_lightning.io.in_memory import library_of, volume_of
from mmreg_lightning.registration.result import OUTPUTS, Result, check_field_formats
from mmreg_lightning.registration.settings import Options, Settings, resolve
from mmreg_lightning.registration.solve import Stopwatch, extract, solution_cues, solve
from mmreg_lightning.solvers.protocol import Progress


def register(
    fixed: Any,
    moving: Any,
    *,
    fixed_labels: Any = None,
    moving_labels: Any = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    fixed_landmarks: str | Path | ArrayLike | None = None,
    moving_landmarks: str | Path | ArrayLike | None = None,
    fixed_series: str | None = None,
    moving_series: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Register two images, as ``mmreg-register`` does.

    Args:
        fixed, moving: paths, 3-D images of SimpleITK, TorchIO or nibabel, ``Volume`` or ``Image``, in any mixture.
        fixed_labels, moving_labels: label maps on the grids of their images, for Dice and the report; the moving one
            is warped and may come alone. Those on another grid of the same frame are placed, see ``place_on``.
        fixed_mask, moving_mask: likewise; what lies outside (0) is ignored.
        fixed_landmarks, moving_landmarks: (N, 3) in voxels of the image's own axis order, or a CSV of such rows, row
            by row the same places; for the target registration error.
        fixed_series, moving_series: SeriesInstanceUID, for a folder with several DICOM series.
        progress: called with (iterations done, iterations in all).
        options: the fields of ``Options``: checkpoint, features, fixed_modality, moving_modality, affine, spacing,
            solver, overrides, device, confidence.

    Raises:
        UserError: an image or an option cannot be used.
        TypeError: there is no such option.
    """
    settings = resolve(Options(**options))
    given = {
        "fixed": fixed,
        "moving": moving,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "fixed_landmarks": fixed_landmarks,
        "moving_landmarks": moving_landmarks,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
        "fixed_series": fixed_series,
        "moving_series": moving_series,
    }
    pair = Pair(*(_image(role, given) for role in ("fixed", "moving")))
    if pair.fixed.labels is not None and pair.moving.labels is None:
        raise UserError("fixed_labels are given without moving_labels")
    if (pair.fixed.landmarks is None) != (pair.moving.landmarks is None):
        raise UserError("landmarks of one image are given without those of the other")
    check_pair(pair)
    files = {name: Path(given[name]) for name in FILE_NAMES if isinstance(given[name], str | os.PathLike)}
    result = register_pair(pair, settings, progress)
    series = {role: given[f"{role}_series"] for role in ("fixed", "moving") if given[f"{role}_series"] is not None}
    return dataclasses.replace(result, library=library_of(moving), inputs=files, series=series)


def register_files(
    files: Pair[ImageFiles],
    settings: Settings,
    out: str | Path,
    *,
    field_formats: Sequence[str] = ("itk",),
    full: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
    watch: Stopwatch | None = None,
) -> Result:
    """Register a pair of files and write all results; nothing is written before everything is computed.

    Args:
        files: the pair, and what to score it with.
        settings: of ``resolve``.
        out: folder for the results, created if need be.
        field_formats, full, overwrite, command: see ``Result.write``.
        progress: called with (iterations done, iterations in all).
        watch: has run since the command began; None starts one.

    Raises:
        UserError: an input or the output folder cannot be used.
    """
    watch = Stopwatch() if watch is None else watch
    formats = check_field_formats(field_formats)
    check_free(out, OUTPUTS, overwrite)
    with watch.stage("read"):
        pair = files.read(place=True)
    with new_output_dir(out):
        result = register_pair(pair, settings, progress, watch)
    result = dataclasses.replace(result, inputs=files.files(), series=files.series)
    result.write(out, formats, overwrite=True, command=command, full=full)
    return result


def register_pair(
    pair: Pair[Image], settings: Settings, progress: Progress | None = None, watch: Stopwatch | None = None
) -> Result:
    """Register a pair in memory, warp its image and labels, and score it; see ``straight_image`` for the fixed image.

    Args:
        pair: see ``check_pair``.
        settings: of ``resolve``.
        progress: called with (iterations done, iterations in all).
        watch: has run since the work began; None starts one.

    Raises:
        UserError: see ``extract`` and ``solve``.
    """
    watch = Stopwatch() if watch is None else watch
    pair = Pair(straight_image(pair.fixed), pair.moving)
    maps = extract(pair, settings)
    registration = solve(maps, settings.solver, progress)
    watch.seconds.update(registration.seconds)
    displacement, fixed = registration.displacement, pair.fixed.volume
    assessment = None
    if settings.confidence is not None:
        with watch.stage("confidence"):
            cues = solution_cues(registration, maps, settings.solver)
            assessment = assess(settings.confidence, cues, registration.feature_grid, fixed)
    with watch.stage("warp"):
        moved = warp_volume(pair.moving.volume, displacement, fixed.grid)
        labels = pair.moving.labels
        if labels is not None:
            labels = warp_volume(labels, displacement, fixed.grid, "nearest")
    with watch.stage("score"):
        scores = score(pair, displacement, settings.label_names)
    return Result(pair, settings, registration, Image(moved, labels), scores, watch, assessment)


def _image(role: str, given: Mapping[str, Any]) -> Image:
    """One image of a call of ``register`` with what belongs to it."""
    image = given[role]
    series = given[f"{role}_series"]
    if series is not None and not isinstance(image, str | os.PathLike):
        raise UserError(f"{role}_series={series}: {role} must be a folder with DICOM files")
    whole = image if isinstance(image, Image) else Image(volume_of(image, role, series=series))
    parts: dict[str, Any] = {}
    for part in ("labels", "mask"):
        name = f"{role}_{part}"
        if given[name] is not None:
            labels = volume_of(given[name], name, labels=True)
            parts[part] = place_on(labels if part == "labels" else mask_of_labels(labels), whole.volume)
    landmarks = given[f"{role}_landmarks"]
    if landmarks is not None:
        parts["landmarks"] = _landmarks(landmarks, whole.volume, f"{role}_landmarks")
    return dataclasses.replace(whole, **parts)


def _landmarks(landmarks: str | Path | ArrayLike, image: Volume, name: str) -> NDArray[np.float64]:
    if isinstance(landmarks, str | os.PathLike):
        return read_landmarks(Path(landmarks), image)
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UserError(f"{name}: must be finite numbers of shape (N, 3), not of shape {points.shape}")
    return canonical_landmarks(points, image, name)
