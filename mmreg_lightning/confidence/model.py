"""A calibrated confidence: how it is kept in a file, and how it is applied to a registration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.confidence.cues import CUES, Cues
from mmreg_lightning.confidence.logistic import fit_logistic, logit, sigmoid
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256, write_json

VERSION = 1
_LEAST_CONTRAST = -2.0
"""Standard deviations of those on organ surfaces below which less contrast means no less confidence."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConfidenceModel:
    """Two logistic models: of a place from its cues, and of a case from its places.

    The confidence of a place is the probability that an organ's surface there lies within ``tolerance_mm`` of its
    counterpart. That of a case is the mean Dice that is to be expected.

    Attributes:
        mean, scale: (5,) of each of ``CUES``, by which they are standardised.
        local: (6,) intercept and coefficients, for the log-odds of a place.
        case: (2,) intercept and slope, for the log-odds of a case from those of its mean local confidence.
        tolerance_mm: beyond it a surface is wrong.
        low: of a case: 90 % of the unperturbed calibration pairs were above it.
        checkpoint_sha256: of the checkpoint whose features it was calibrated with; None for MIND-SSC.
        setting: spacing and solver that it was calibrated with, as run.yaml holds them.
        calibrated_on: what is to be known of the calibration.
    """

    mean: list[float]
    scale: list[float]
    local: list[float]
    case: list[float]
    tolerance_mm: float
    low: float
    checkpoint_sha256: str | None
    setting: Mapping[str, Any]
    calibrated_on: Mapping[str, Any]

    def places(self, cues: Floats) -> Floats:
        """Confidence (N,) of places with ``cues`` (N, 5), see ``Cues``."""
        z = _standardised(cues, np.array(self.mean), np.array(self.scale))
        return sigmoid(self.local[0] + z @ np.array(self.local[1:]))

    def map(self, cues: Cues) -> Tensor:
        """Confidence (1, 1, i, j, k) float32 of every voxel of the feature grid."""
        shape = cues.maps.shape[2:]
        flat = self.places(cues.maps[0].flatten(1).T.double().numpy())
        return torch.from_numpy(flat).float().view(1, 1, *shape)

    def of_case(self, mean_local: float | Floats) -> Floats:
        """Confidence of a case from the mean of its places, each weighted by ``Cues.weight``."""
        return sigmoid(self.case[0] + self.case[1] * logit(mean_local))

    def write(self, path: str | Path) -> None:
        """Write a JSON file, atomically."""
        write_json(path, {"version": VERSION, "cues": list(CUES), **asdict(self)})


def fit_places(cues: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and scale of the cues and coefficients of the local model.

    Args:
        cues: (N, 5) at places on organ surfaces.
        right: (N,) 1 where the surface is within the tolerance, else 0.
    """
    mean, scale = cues.mean(axis=0), np.maximum(cues.std(axis=0), 1e-6)
    return mean, scale, fit_logistic(_standardised(cues, mean, scale), right)


def _standardised(cues: Floats, mean: Floats, scale: Floats) -> Floats:
    """(N, 5) of mean 0 and deviation 1 on organ surfaces; air has no contrast at all, which no surface tells of."""
    z = (cues - mean) / scale
    contrast = CUES.index("contrast")
    z[:, contrast] = np.maximum(z[:, contrast], _LEAST_CONTRAST)
    return z


def fit_cases(mean_local: Floats, dice: Floats) -> Floats:
    """(2,) coefficients of the model of a case.

    Args:
        mean_local: (M,) mean confidence of the places of each case.
        dice: (M,) its mean Dice.
    """
    return fit_logistic(logit(mean_local)[:, None], dice)


def read_confidence(path: str | Path) -> ConfidenceModel:
    """The model of a file that ``mmreg-calibrate`` wrote.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--confidence {file}: there is no such file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, cues = content.pop("version"), content.pop("cues")
        model = ConfidenceModel(**content)
        known = (version, cues, len(model.mean), len(model.local)) == (VERSION, list(CUES), len(CUES), len(CUES) + 1)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"--confidence {file}: no confidence file of mmreg-calibrate") from error
    if not known:
        raise UserError(f"--confidence {file}: of another version of this package; calibrate again")
    return model


def check_calibration(
    model: ConfidenceModel, path: str | Path, checkpoint: str | Path | None, setting: Mapping[str, Any]
) -> None:
    """Check that a registration is of the kind that a confidence was calibrated on.

    Args:
        model: the confidence.
        path: of its file, for messages.
        checkpoint: of the registration.
        setting: of the registration, as ``ConfidenceModel.setting``.

    Raises:
        UserError: another checkpoint, spacing or solver.
    """
    if model.checkpoint_sha256 != (None if checkpoint is None else sha256(checkpoint)):
        raise UserError(f"--confidence {path}: was calibrated with another checkpoint than {checkpoint or 'none'}")
    now = json.loads(json.dumps(setting))
    for key, value in now.items():
        other = model.setting.get(key)
        name = key
        # Down to the value that differs: a solver's whole configuration fills a screen.
        while isinstance(value, dict) and isinstance(other, dict):
            inner = next((k for k in {**value, **other} if value.get(k) != other.get(k)), None)
            if inner is None:
                break
            name, value, other = f"{name}.{inner}", value.get(inner), other.get(inner)
        if other != value:
            raise UserError(f"--confidence {path}: was calibrated with {name}={other}, not {value}")
