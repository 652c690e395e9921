"""``report.png`` and ``report.html``: what a registration did, as one picture and as a page to look around in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.confidence.assess import Assessment
from mmreg_lightning.data.pair import PairData
from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.files import atomic_path
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.registration.settings import Settings
from mmreg_lightning.registration.solve import Registration
from mmreg_lightning.reporting.pages import Table
from mmreg_lightning.reporting.pair_figure import PairPicture, draw_pair
from mmreg_lightning.reporting.pair_page import write_page

_NONE = "–"  # where there is no number


def write_report(
    path: str | os.PathLike[str],
    pair: PairData,
    settings: Settings,
    registration: Registration,
    warped: Volume,
    scores: Scores,
    *,
    picture: PairPicture | None = None,
) -> None:
    """Draw fixed, moving, warped, checkerboard, deformation and feature colours of a registration into a PNG.

    Args:
        path: name of the file.
        pair: images; label maps are outlined where there are any.
        settings: for the intensity recipes.
        registration: deformation and features.
        warped: the moving image on the fixed image's grid, intensities as in its file.
        scores: for the title.
        picture: ``registration_picture`` of these, where it is at hand already; None computes it.
    """
    if picture is None:
        picture = registration_picture(pair, settings, registration, warped)
    figure = draw_pair(picture, f"{_title(pair)}\n{summary(scores)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def write_html_report(
    path: str | os.PathLike[str],
    pair: PairData,
    settings: Settings,
    registration: Registration,
    warped: Volume,
    scores: Scores,
    *,
    seconds: Mapping[str, float],
    picture: PairPicture | None = None,
    confidence: Assessment | None = None,
) -> None:
    """Write a registration as an interactive page: linked planes, overlays and the numbers, see ``write_page``.

    Args:
        path, pair, settings, registration, warped, picture: see ``write_report``.
        scores: for the tables.
        seconds: of the stages so far, by name.
        confidence: where it was asked for; one that is low is the first note.
    """
    if picture is None:
        picture = registration_picture(pair, settings, registration, warped, confidence)
    notes = [
        f"Fixed: {_name(pair.fixed, 'fixed')} ({settings.fixed_modality}). "
        f"Moving: {_name(pair.moving, 'moving')} ({settings.moving_modality}).",
        "Positions are in the patient's frame of the fixed image's header; the planes follow the axes of that image.",
    ]
    if not np.array_equal(registration.initial, np.eye(4)):
        notes.append(
            "The moving image before the deformation is shown under the affine alignment that preceded it; the numbers "
            "before are as the headers place the images."
        )
    tables = score_tables(scores, seconds)
    if confidence is not None:
        rows = [
            ["", "value"],
            ["Confidence (expected Dice)", f"{confidence.case:.2f}"],
            ["Doubtful, % of what there is to align", f"{100 * confidence.doubtful:.1f}"],
        ]
        tables.insert(1, ("Confidence", rows))
        sentence = confidence.sentence()
        if sentence is not None:
            notes.insert(0, f"{sentence[0].upper()}{sentence[1:]}.")
    write_page(path, picture, pair.fixed.grid, _title(pair), tables, notes, settings.label_names)


def score_tables(scores: Scores, seconds: Mapping[str, float]) -> list[tuple[str, Table]]:
    """The numbers of a registration as text: the measures, Dice of each organ where there are labels, seconds.

    Args:
        scores: what was measured; what was not is left out.
        seconds: by stage.

    Returns:
        Heading and rows of each table.
    """
    header = ["", "before", "after"]
    measures = [header]
    organs = []
    if scores.dice_before is not None and scores.dice_after is not None:
        before, after = scores.dice_before, scores.dice_after
        measures.append([f"Dice, mean of {_labels(after)}", f"{before['mean']:.3f}", f"{after['mean']:.3f}"])
        organs = [
            [name, _number(before["per_label"][name], 3), _number(value, 3)]
            for name, value in after["per_label"].items()
        ]
    if scores.tre_mm_before is not None and scores.tre_mm_after is not None:
        measures.append(["Landmark error (TRE), mm", f"{scores.tre_mm_before:.2f}", f"{scores.tre_mm_after:.2f}"])
    total = sum(seconds.values())
    measures += [
        ["Folds, % of voxels", _NONE, f"{scores.folds_percent:.3f}"],
        ["SD of log J", _NONE, f"{scores.sdlogj:.3f}"],
        ["Seconds until this report", _NONE, f"{total:.1f}"],
    ]
    tables = [("Measures", measures)]
    if organs:
        tables.append(("Dice of each organ", [header, *organs]))
    stages = [[name.replace("_", " "), f"{value:.1f}"] for name, value in seconds.items()]
    tables.append(("Seconds by stage", [["", "s"], *stages]))
    return tables


def registration_picture(
    pair: PairData,
    settings: Settings,
    registration: Registration,
    warped: Volume,
    confidence: Assessment | None = None,
) -> PairPicture:
    """What the figure needs; images on the fixed image's grid, moving ones under the initial affine."""
    grid, initial = pair.fixed.grid, registration.initial
    working = registration.working
    fixed_recipe = settings.display[settings.fixed_modality]
    moving_recipe = settings.display[settings.moving_modality]
    # One call for both, so that percentiles give both the same window.
    moving = resample_volume(pair.moving, grid, transform=initial).data
    moving, moved = normalise_intensity(torch.cat([moving, warped.data]), moving_recipe)
    labels: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    if pair.labels is not None:
        labels = (
            pair.labels[0].data[0],
            resample_volume(pair.labels[1], grid, "nearest", transform=initial).data[0],
            warp_volume(pair.labels[1], registration.displacement, grid, "nearest").data[0],
        )
    scale = torch.tensor(working.spacing, dtype=torch.float32).view(3, 1, 1, 1)
    shape = registration.fixed_features.shape[2:]
    return PairPicture(
        fixed=normalise_intensity(pair.fixed.data, fixed_recipe)[0],
        moving=moving,
        warped=moved,
        spacing=grid.spacing.tolist(),
        displacement=registration.deformation[0] * scale,
        displacement_spacing=working.spacing.tolist(),
        fixed_features=registration.fixed_features[0],
        warped_features=registration.warped_features[0],
        feature_spacing=[n * s / m for n, s, m in zip(working.shape, working.spacing.tolist(), shape, strict=True)],
        fixed_labels=labels[0],
        moving_labels=labels[1],
        warped_labels=labels[2],
        confidence=None if confidence is None else confidence.places[0, 0],
    )


def summary(scores: Scores) -> str:
    """The numbers of a registration on one line."""
    parts = []
    if scores.dice_before is not None and scores.dice_after is not None:
        parts.append(
            f"Dice {scores.dice_before['mean']:.3f} → {scores.dice_after['mean']:.3f} ({_labels(scores.dice_after)})"
        )
    if scores.tre_mm_before is not None and scores.tre_mm_after is not None:
        parts.append(f"TRE {scores.tre_mm_before:.2f} → {scores.tre_mm_after:.2f} mm")
    parts.append(f"folds {scores.folds_percent:.2f} %")
    parts.append(f"SD log J {scores.sdlogj:.3f}")
    return ", ".join(parts)


def _labels(dice: Mapping[str, Any]) -> str:
    count = sum(1 for value in dice["per_label"].values() if value == value)  # NaN is not itself
    return f"{count} label" if count == 1 else f"{count} labels"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else _NONE  # NaN is not itself


def _title(pair: PairData) -> str:
    return f"{_name(pair.moving, 'moving')}  →  {_name(pair.fixed, 'fixed')}"


def _name(volume: Volume, otherwise: str) -> str:
    return volume.path.name if volume.path is not None else otherwise
