"""``report.png`` and ``report.html``: what a registration did, as one picture and as a page to look around in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.files import atomic_path
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.reporting.pages import Table
from mmreg_lightning.reporting.pair_figure import PairPicture, draw_pair
from mmreg_lightning.reporting.pair_page import write_page

if TYPE_CHECKING:
    from mmreg_lightning.registration.result import Result

_NONE = "–"  # where there is no number


def write_png(path: str | os.PathLike[str], result: Result, picture: PairPicture) -> None:
    """Draw fixed, moving, warped, checkerboard, deformation and feature colours of a registration into a PNG.

    Args:
        path: name of the file.
        result: of the registration.
        picture: ``registration_picture`` of it.
    """
    figure = draw_pair(picture, f"{_title(result)}\n{summary(result.scores)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def write_html(path: str | os.PathLike[str], result: Result, picture: PairPicture) -> None:
    """Write a registration as an interactive page: linked planes, overlays and the numbers, see ``write_page``.

    Args:
        path, result, picture: see ``write_png``.
    """
    settings, registration, confidence = result.settings, result.registration, result.confidence
    fixed, moving = (_name(image.volume, role) for image, role in zip(result.pair, ("fixed", "moving"), strict=True))
    notes = [
        f"Fixed: {fixed} ({settings.fixed_modality}). Moving: {moving} ({settings.moving_modality}).",
        "Positions are in the patient's frame of the fixed image's header; the planes follow the axes of that image.",
    ]
    if not np.array_equal(registration.initial, np.eye(4)):
        notes.append(
            "The moving image before the deformation is shown under the affine alignment that preceded it; the numbers "
            "before are as the headers place the images."
        )
    if any(mask is not None for mask in registration.masks):
        notes.append("Outside of its mask, which is outlined, an image was not looked at.")
    notes += result.notes
    tables = score_tables(result.scores, result.watch.seconds)
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
    grid = result.pair.fixed.volume.grid
    write_page(path, picture, grid, _title(result), tables, notes, settings.label_names)


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


def registration_picture(result: Result) -> PairPicture:
    """What the figure needs; images on the fixed image's grid, moving ones under the initial affine."""
    (fixed, moving), registration, settings = result.pair, result.registration, result.settings
    grid, initial, working = fixed.volume.grid, registration.initial, registration.working
    # One call for both, so that percentiles give both the same window.
    before = resample_volume(moving.volume, grid, transform=initial).data
    shown = normalise_intensity(
        torch.cat([before, result.moved.volume.data]), settings.family.display(settings.moving_modality)
    )
    labels: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    if fixed.labels is not None and moving.labels is not None and result.moved.labels is not None:
        labels = (
            fixed.labels.data[0],
            resample_volume(moving.labels, grid, "nearest", transform=initial).data[0],
            result.moved.labels.data[0],
        )
    masks = _masks_on_fixed(result)
    scale = torch.tensor(working.spacing, dtype=torch.float32).view(3, 1, 1, 1)
    shape = registration.fixed_features.shape[2:]
    return PairPicture(
        fixed=normalise_intensity(fixed.volume.data, settings.family.display(settings.fixed_modality))[0],
        moving=shown[0],
        warped=shown[1],
        spacing=grid.spacing.tolist(),
        displacement=registration.deformation[0] * scale,
        displacement_spacing=working.spacing.tolist(),
        fixed_features=registration.fixed_features[0],
        warped_features=registration.warped_features[0],
        feature_spacing=[n * s / m for n, s, m in zip(working.shape, working.spacing.tolist(), shape, strict=True)],
        fixed_labels=labels[0],
        moving_labels=labels[1],
        warped_labels=labels[2],
        confidence=None if result.confidence is None else result.confidence.places[0, 0],
        fixed_mask=masks[0],
        moving_mask=masks[1],
        warped_mask=masks[2],
    )


def _masks_on_fixed(result: Result) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """(I, J, K) bool on the fixed image's grid: its mask, the moving one under the initial affine, and warped."""
    grid, registration = result.pair.fixed.volume.grid, result.registration
    fixed, moving = registration.masks
    before = after = None
    if moving is not None:
        # In float32: integers are sampled in double, which a mask does not need.
        mask = Volume(moving.float(), result.pair.moving.volume.grid)
        before = resample_volume(mask, grid, "nearest", transform=registration.initial).data[0] > 0
        after = warp_volume(mask, registration.displacement, grid, "nearest").data[0] > 0
    return None if fixed is None else fixed[0], before, after


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


def _title(result: Result) -> str:
    fixed, moving = (_name(image.volume, role) for image, role in zip(result.pair, ("fixed", "moving"), strict=True))
    return f"{moving}  →  {fixed}"


def _name(volume: Volume, otherwise: str) -> str:
    return volume.path.name if volume.path is not None else otherwise
