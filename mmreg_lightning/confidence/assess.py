"""Confidence of one registration, as a whole and at every place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.confidence.model import ConfidenceModel
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

_DOUBT = 0.5  # a place of lower confidence is doubtful: more likely wrong than right
_SHARE = 0.05  # share of doubtful places above which a registration is likely wrong


@dataclass(frozen=True)
class Assessment:
    """Confidence of one registration.

    Attributes:
        places: (1, 1, i, j, k), confidence of each voxel of the feature grid, see ``ConfidenceModel``.
        volume: (1, I, J, K), the same on the fixed image's grid.
        case: confidence of the case, its expected mean Dice.
        threshold: ``ConfidenceModel.low``.
        tolerance_mm: ``ConfidenceModel.tolerance_mm``.
        doubtful: share of doubtful places, weighted by ``Cues.weight``.
        position: world RAS mm of the most doubtful place in the largest doubtful region; None without any.
    """

    places: Tensor
    volume: Volume
    case: float
    threshold: float
    tolerance_mm: float
    doubtful: float
    position: tuple[float, float, float] | None

    @property
    def low(self) -> bool:
        """Whether the registration is likely wrong, as a whole or in more than 5 % of its places."""
        return self.case < self.threshold or self.doubtful > _SHARE

    def sentence(self) -> str | None:
        """A warning if the confidence is low, else None."""
        if not self.low:
            return None
        where = ""
        if self.position is not None:
            ends = zip(("LR", "PA", "IS"), self.position, strict=True)
            place = ", ".join(f"{names[x >= 0]} {abs(x):.0f}" for names, x in ends)
            where = f", the worst about ({place}) mm"
        whole = f"the confidence of the whole is {self.case:.2f}"
        if self.case < self.threshold:
            whole += f", below {self.threshold:.2f}, which 90 % of the calibration pairs exceed"
        return (
            f"this registration is likely wrong here: {100 * self.doubtful:.0f} % of what there is to align is "
            f"probably off by more than {self.tolerance_mm:g} mm{where}; {whole}"
        )

    def metrics(self) -> dict[str, Any]:
        """Entries of metrics.json."""
        return {
            "confidence": self.case,
            "confidence_low": self.low,
            "confidence_threshold": self.threshold,
            "doubtful_percent": 100 * self.doubtful,
            "doubtful_position_ras_mm": None if self.position is None else list(self.position),
            "confidence_tolerance_mm": self.tolerance_mm,
        }


def assess(model: ConfidenceModel, cues: Cues, features: Grid, fixed: Volume) -> Assessment:
    """Apply a calibrated confidence to the cues of a registration, which lie on the grid ``features``."""
    places = model.map(cues)
    weight = cues.weight / cues.weight.sum()
    case = float(model.of_case(float((places * weight).sum())))
    doubt = (places < _DOUBT)[0, 0].numpy()
    doubtful = float((weight[0, 0] * torch.from_numpy(doubt)).sum())
    position = None
    if doubt.any():
        regions, count = ndimage.label(doubt)
        sizes = ndimage.sum_labels(weight[0, 0].numpy(), regions, range(1, count + 1))
        own = regions == 1 + int(np.argmax(sizes))
        badness = np.where(own, ((1 - places) * weight)[0, 0].numpy(), -1.0)
        voxel = np.array(np.unravel_index(int(badness.argmax()), badness.shape), dtype=float)
        x, y, z = transform_points(features.affine, voxel[None])[0].tolist()
        position = (x, y, z)
    volume = resample_volume(Volume(places[0], features), fixed.grid)
    shown = Volume(volume.data.clamp(0, 1), fixed.grid, fixed.native)
    return Assessment(places, shown, case, model.low, model.tolerance_mm, doubtful, position)
