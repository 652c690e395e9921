"""What ``mmreg-features`` does: maps of images, or a study of a data set, into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import check_free, new_output_dir, remove_outputs, write_text
from mmreg_lightning.inspection import maps_report, study_report
from mmreg_lightning.inspection.maps import map_image, similarity
from mmreg_lightning.inspection.maps_report import Mapped, write_maps
from mmreg_lightning.inspection.study import Progress, Study, plan_study, run_study
from mmreg_lightning.inspection.study_report import write_study
from mmreg_lightning.registration.result import describe_run
from mmreg_lightning.registration.settings import Options, resolve

OUTPUTS = tuple(dict.fromkeys((*maps_report.OUTPUTS[:-2], *study_report.OUTPUTS[:-2], "run.yaml", "features.json")))
"""Of both kinds of run, so that one does not leave files of the other behind."""


def write_feature_maps(
    image: Path,
    out: Path,
    *,
    labels: Path | None = None,
    modality: str | None = None,
    other_image: Path | None = None,
    other_labels: Path | None = None,
    other_modality: str | None = None,
    point: Sequence[float] | None = None,
    checkpoint: Path | None = None,
    spacing: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Compute the features of one image, or of two, and write what ``maps_report.OUTPUTS`` names.

    Args:
        image, labels, modality: the first image; the modality is that of a checkpoint's fixed images when None.
        other_image, other_labels, other_modality: the second one; None is no second one.
        out: folder for the results.
        point: (3,) voxels of ``image``'s file, to be looked for in the second image, else in the same one.
        checkpoint, spacing: see ``resolve_settings``.
        device: see ``resolve_device``.
        overwrite: replace earlier results in ``out``.
        progress: told of each image.
        command: the command line, for run.yaml.

    Returns:
        Content of features.json.

    Raises:
        UserError: an input, option or the output folder cannot be used.
    """
    for option, value in (("other_labels", other_labels), ("other_modality", other_modality)):
        if other_image is None and value is not None:
            raise UserError(f"{option}={value}: needs other_image")
    check_free(out, OUTPUTS, overwrite)
    try:
        settings = resolve(
            Options(
                checkpoint,
                fixed_modality=modality,
                moving_modality=other_modality,
                spacing=spacing,
                device=device,
            )
        )
    except UserError as error:
        named = str(error).replace("fixed_modality=", "modality=").replace("moving_modality=", "other_modality=")
        raise UserError(named) from error
    asked = [ImageFiles(image, labels, modality=settings.fixed_modality)]
    if other_image is not None:
        asked.append(ImageFiles(other_image, other_labels, modality=settings.moving_modality))
    mapped = []
    for number, files in enumerate(asked):
        mapped.append(map_image(files, settings))
        if progress is not None:
            progress("features", number + 1, len(asked))
    alike = None if point is None else similarity(mapped[0], point, mapped[-1])
    inputs = {"image": image, "labels": labels, "other_image": other_image, "other_labels": other_labels}
    inputs["checkpoint"] = checkpoint
    run = {
        **describe_run({name: path for name, path in inputs.items() if path is not None}, command),
        "features": dict(settings.family.config),
        "modalities": [files.modality for files in asked],
        "normalisation": {files.modality: dict(settings.family.recipe(files.modality)) for files in asked},
    }
    with new_output_dir(out) as folder:
        remove_outputs(folder, OUTPUTS)
        other = mapped[1] if len(mapped) > 1 else None
        content = write_maps(folder, Mapped(mapped[0], other, alike, settings.label_names), command)
        write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False, width=100))
        maps_report.write_end(folder, content)
    return content


def write_feature_study(
    checkpoint: Path,
    root: Path,
    out: Path,
    *,
    cache_dir: str | Path,
    split: str = "test",
    probe_split: str = "val",
    subjects: int = 10,
    descent_pairs: int = 3,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint's features on a data set and write what ``study_report.OUTPUTS`` names.

    Args:
        checkpoint, root, split, probe_split, subjects, descent_pairs, seed: see ``plan_study``.
        out: folder for the results.
        cache_dir, progress: see ``run_study``.
        overwrite: replace earlier results in ``out``.
        command: the command line, for run.yaml.

    Returns:
        Content of features.json.

    Raises:
        UserError: see ``plan_study``, or the output folder cannot be used.
    """
    check_free(out, OUTPUTS, overwrite)
    plan = plan_study(
        checkpoint,
        root,
        split=split,
        probe_split=probe_split,
        subjects=subjects,
        descent_pairs=descent_pairs,
        seed=seed,
    )
    with new_output_dir(out) as folder:
        study: Study = run_study(plan, cache_dir, progress)
        run = {
            **describe_run({"checkpoint": checkpoint, "data": plan.dataset.description}, command),
            "features": plan.model.hparams["features"],
            "mind_ssc": dict(study.mind_ssc),
            "seed": seed,
        }
        remove_outputs(folder, OUTPUTS)
        facts = {**run["versions"], "checkpoint": str(checkpoint), "data": str(root), "seed": seed}
        summary = write_study(folder, study, facts, f"Features on {plan.dataset.name}", command)
        write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False, width=100))
        study_report.write_end(folder, summary)
    return summary
