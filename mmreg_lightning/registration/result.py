"""The files that a registration leaves in its folder."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from mmreg_lightning import __version__
from mmreg_lightning.confidence.assess import Assessment
from mmreg_lightning.data.pair import PairData
from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.files import remove_outputs, sha256, write_json, write_text
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import FieldTransform, transform_displacement
from mmreg_lightning.io.field_formats import FIELD_FORMATS, FieldFormat, field_name, write_field
from mmreg_lightning.io.images import write_image
from mmreg_lightning.io.transforms import write_affine
from mmreg_lightning.registration.report import registration_picture, write_html_report, write_report
from mmreg_lightning.registration.settings import Settings
from mmreg_lightning.registration.solve import Registration, Stopwatch
from mmreg_lightning.runtime import peak_memory_mb

_FIELDS = tuple(field_name(stem, kind) for stem in ("displacement", "inverse") for kind in FIELD_FORMATS)
OUTPUTS = (
    "warped.nii.gz",
    "warped_labels.nii.gz",
    *_FIELDS,
    "affine.tfm",
    "jacobian.nii.gz",
    "run.yaml",
    "report.png",
    "report.html",
    "metrics.json",
)
"""All files that can come out, in the order in which they are written: where the last one lies, all others do."""
CONFIDENCE = "confidence.nii.gz"
"""Comes out besides, where a confidence was asked for."""


@dataclass(frozen=True)
class RegisteredPair:
    """A pair with everything that is known about it after its registration.

    Attributes:
        pair: images, labels, landmarks, masks.
        settings: what it was registered with.
        spacing: of the working grid, mm.
        affine: what preceded the solver: a kind, or the name of a file.
        registration: fields and features.
        warped: the moving image on the fixed image's grid.
        warped_labels: the moving label map there, where there is one.
        scores: of the registration.
        watch: seconds so far.
        confidence: how far it is to be trusted, where that was asked for.
    """

    pair: PairData
    settings: Settings
    spacing: float | Sequence[float]
    affine: str
    registration: Registration
    warped: Volume
    warped_labels: Volume | None
    scores: Scores
    watch: Stopwatch
    confidence: Assessment | None = None

    def inverse_displacement(self) -> Tensor:
        """(1, 3, I', J', K'), voxels of the moving image's RAS+ grid, moving to fixed."""
        field = FieldTransform(self.registration.displacement[0], self.pair.fixed.grid)
        return transform_displacement(field.inverse(), self.pair.moving.grid)


def write_outputs(
    result: RegisteredPair,
    folder: Path,
    provenance: Mapping[str, Any],
    field_formats: Sequence[FieldFormat] = ("itk",),
    full: bool = True,
) -> dict[str, Any]:
    """Write all files of a registration; those of an earlier one in the folder are removed first.

    Args:
        result: of the registration.
        folder: exists and is writable.
        provenance: what run.yaml says about the run, see ``describe_run``.
        field_formats: of the displacement and of its inverse, besides ``itk``, which ``mmreg-apply`` reads.
        full: False leaves out the inverse, the Jacobian map and the HTML page.

    Returns:
        The content of metrics.json.
    """
    pair, registration, watch = result.pair, result.registration, result.watch
    field_formats = list(dict.fromkeys(("itk", *field_formats)))
    with watch.stage("write"):
        # Stopped half-way, the folder must not hold a mixture of old and new files.
        remove_outputs(folder, (CONFIDENCE, *OUTPUTS))
        write_image(result.warped, folder / "warped.nii.gz", like=pair.fixed, dtype=pair.moving.stored)
        if result.warped_labels is not None and pair.moving_labels is not None:
            labels = folder / "warped_labels.nii.gz"
            write_image(result.warped_labels, labels, like=pair.fixed, dtype=pair.moving_labels.stored)
        for kind in field_formats:
            write_field(registration.displacement, pair.fixed, pair.moving, folder, "displacement", kind)
        write_affine(registration.initial, folder / "affine.tfm")
        if result.confidence is not None:
            write_image(result.confidence.volume, folder / CONFIDENCE, like=pair.fixed)
    if full:
        with watch.stage("inverse"):
            _write_inverse(result, folder, field_formats)
        with watch.stage("jacobian"):
            jacobian = Volume(jacobian_determinant(registration.displacement)[0], pair.fixed.grid)
            write_image(jacobian, folder / "jacobian.nii.gz", like=pair.fixed)
            del jacobian  # as large as an image
    run = {
        **provenance,
        "settings": describe_settings(result.settings, result.affine, result.spacing),
        "initial_affine_ras_mm": np.asarray(registration.initial).tolist(),
    }
    write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False, width=100))
    with watch.stage("report"):
        shown = (pair, result.settings, registration, result.warped, result.scores)
        picture = registration_picture(pair, result.settings, registration, result.warped, result.confidence)
        write_report(folder / "report.png", *shown, picture=picture)
        if full:
            write_html_report(
                folder / "report.html", *shown, seconds=watch.seconds, picture=picture, confidence=result.confidence
            )
    metrics = {
        **asdict(result.scores),
        "seconds": {**watch.seconds, "total": watch.total()},
        "peak_memory_mb": peak_memory_mb(),
        **({} if result.confidence is None else result.confidence.metrics()),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _write_inverse(result: RegisteredPair, folder: Path, field_formats: Sequence[FieldFormat]) -> None:
    inverse = result.inverse_displacement()
    for kind in field_formats:
        write_field(inverse, result.pair.moving, result.pair.fixed, folder, "inverse", kind)


def describe_run(inputs: Mapping[str, Path], command: str | None) -> dict[str, Any]:
    """The command, versions of the programs, and paths and checksums of the inputs, as run.yaml holds them."""
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


def describe_settings(settings: Settings, affine: str, spacing: float | Sequence[float] | None) -> dict[str, Any]:
    """The settings of a registration as run.yaml holds them, plain types.

    Args:
        settings: what it runs with.
        affine: what precedes the solver.
        spacing: of the working grid, mm; None where it is the image's own.
    """
    if spacing is not None and not isinstance(spacing, float | int):
        spacing = list(spacing)
    return {
        "features": dict(settings.features_config),
        "fixed_modality": settings.fixed_modality,
        "moving_modality": settings.moving_modality,
        "normalisation": {
            name: dict(settings.normalisation[name])
            for name in dict.fromkeys((settings.fixed_modality, settings.moving_modality))
        },
        "spacing_mm": spacing,
        "affine": affine,
        "solver": dict(settings.solver_config),
    }


def calibrated_setting(settings: Settings) -> dict[str, Any]:
    """What a registration must share with the calibration, besides the checkpoint."""
    described = describe_settings(settings, "none", settings.spacing)
    keys = ["features", "spacing_mm", "solver"]
    if settings.checkpoint is not None:  # MIND-SSC sees all modalities alike
        keys += ["fixed_modality", "moving_modality"]
    return {key: described[key] for key in keys}
