"""What ``mmreg-features`` does: maps of images, or a study of a data set, into a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import check_free, new_output_dir, remove_outputs, write_json, write_text
from mmreg_lightning.inspection import maps_report, study_report
from mmreg_lightning.inspection.families import make_families
from mmreg_lightning.inspection.maps import map_image, similarity
from mmreg_lightning.inspection.study import Progress, Study
from mmreg_lightning.registration.result import describe_run
from mmreg_lightning.registration.settings import Options, resolve

OUTPUTS = tuple(dict.fromkeys((*maps_report.OUTPUTS, *study_report.OUTPUTS, "run.yaml", "features.json")))
"""Files of both kinds of run: neither leaves files of the other behind. features.json is written last."""


def write_feature_maps(
    images: Sequence[ImageFiles],
    out: Path,
    *,
    point: Sequence[float] | None = None,
    checkpoint: Path | None = None,
    features: str | None = None,
    spacing: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Compute the features of one image or of two, and write ``maps_report.OUTPUTS``, run.yaml and features.json.

    Args:
        images: one or two. Without a name their modalities are those of the checkpoint's fixed and moving images.
        out: folder for the results.
        point: (3,) voxels of the first image file; its features are searched in the last image.
        checkpoint, features, spacing, device: see ``Options``.
        overwrite: replace earlier results in ``out``.
        progress: called after each image.
        command: the command line, for run.yaml.

    Returns:
        Content of features.json.

    Raises:
        UserError: an input, an option or the output folder cannot be used.
    """
    check_free(out, OUTPUTS, overwrite)
    fixed, moving, *_ = (*(files.modality or None for files in images), None)
    try:
        settings = resolve(
            Options(checkpoint, features, fixed_modality=fixed, moving_modality=moving, spacing=spacing, device=device)
        )
    except UserError as error:
        named = str(error).replace("fixed_modality=", "modality=").replace("moving_modality=", "other_modality=")
        raise UserError(named) from error
    used = [settings.fixed_modality, settings.moving_modality][: len(images)]
    mapped = []
    for number, (files, modality) in enumerate(zip(images, used, strict=True)):
        mapped.append(map_image(dataclasses.replace(files, modality=modality), settings))
        if progress is not None:
            progress("features", number + 1, len(images))
    alike = None if point is None else similarity(mapped[0], point, mapped[-1])
    inputs = {"image": images[0].image, "labels": images[0].labels}
    if len(images) > 1:
        inputs |= {"other_image": images[1].image, "other_labels": images[1].labels}
    inputs |= settings.files()
    run = {
        **describe_run({name: path for name, path in inputs.items() if path is not None}, command),
        "features": dict(settings.family.config),
        "modalities": used,
        "normalisation": {modality: dict(settings.family.recipe(modality)) for modality in used},
    }
    with new_output_dir(out) as folder:
        remove_outputs(folder, OUTPUTS)
        content = maps_report.write_maps(folder, mapped, alike, settings.label_names, command)
        content["notes"] = list(dict.fromkeys(note for image in mapped for note in image.notes))
        _write_end(folder, run, content)
    return content


def write_feature_study(
    study: Study,
    out: Path,
    *,
    cache_dir: str | Path,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Measure learned features on a data set, and write ``study_report.OUTPUTS``, run.yaml and features.json.

    Args:
        study: what to measure.
        out, overwrite, command: see ``write_feature_maps``.
        cache_dir: where prepared arrays are kept.
        progress: see ``Study.run``.

    Returns:
        Content of features.json.

    Raises:
        UserError: a file of the data set or the output folder cannot be used.
    """
    check_free(out, OUTPUTS, overwrite)
    dataset, kind = study.dataset, "weights" if study.model.general else "checkpoint"
    with new_output_dir(out) as folder:
        families = make_families(study.learned, dataset, cache_dir)
        tables, summary = study.run(families, progress)
        run = {
            **describe_run({kind: study.model.path, "data": dataset.description}, command),
            "features": dict(study.learned.config),
            "spacing_mm": study.learned.spacing,
            "mind_ssc": next(dict(family.config) for family in families if family.name == "mind_ssc"),
            "seed": study.seed,
        }
        facts = {kind: study.model.path, "data": study.root, "seed": study.seed, "command": command or ""}
        remove_outputs(folder, OUTPUTS)
        title = f"Features on {dataset.name}"
        study_report.write_study(folder, tables, summary, {**run["versions"], **facts}, title)
        _write_end(folder, run, summary)
    return summary


def _write_end(folder: Path, run: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    write_text(folder / "run.yaml", yaml.safe_dump(dict(run), sort_keys=False, width=100))
    write_json(folder / "features.json", content)
