"""``report.png``: what a registration did, on one page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmreg_lightning.files import atomic_path
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.inputs import PairData
from mmreg_lightning.pictures.pair import PairPicture, draw_pair
from mmreg_lightning.registration import Registration
from mmreg_lightning.scores import Scores
from mmreg_lightning.settings import Settings


def write_report(
    path: str | os.PathLike[str],
    pair: PairData,
    settings: Settings,
    registration: Registration,
    warped: Volume,
    scores: Scores,
) -> None:
    """Draw fixed, moving, warped, checkerboard, deformation and feature colours of a registration into a PNG.

    Args:
        path: name of the file.
        pair: images; label maps are outlined where there are any.
        settings: for the intensity recipes.
        registration: deformation and features.
        warped: the moving image on the fixed image's grid, intensities as in its file.
        scores: for the title.
    """
    figure = draw_pair(
        registration_picture(pair, settings, registration, warped),
        f"{_name(pair.moving, 'moving')}  →  {_name(pair.fixed, 'fixed')}\n{summary(scores)}",
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def registration_picture(pair: PairData, settings: Settings, registration: Registration, warped: Volume) -> PairPicture:
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


def _name(volume: Volume, otherwise: str) -> str:
    return volume.path.name if volume.path is not None else otherwise
