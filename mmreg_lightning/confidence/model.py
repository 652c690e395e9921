"""The calibrated confidence of a registration: logistic models, their fit and their file."""

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
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256, write_json

VERSION = 1
_LEAST_CONTRAST = -2.0  # lower bound of the standardised contrast, in standard deviations on organ surfaces
_RIDGE = 1e-3  # of the standardised coefficients: keeps them finite where classes are separable
_ITERATIONS = 50
_TOLERANCE = 1e-9
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConfidenceModel:
    """Two logistic models: of a place from its cues, and of a case from its places.

    The confidence of a place is the probability that an organ's surface there lies within ``tolerance_mm`` of its
    counterpart. The confidence of a case is its expected mean Dice.

    Attributes:
        mean, scale: (5,) mean and standard deviation of each of ``CUES``.
        local: (6,) intercept and coefficients of the log-odds of a place.
        case: (2,) intercept and slope of the log-odds of a case, from those of its mean local confidence.
        tolerance_mm: largest surface distance of a correct place.
        low: threshold of a case, exceeded by 90 % of the unperturbed calibration pairs.
        checkpoint_sha256: checksum of the features' checkpoint; None for MIND-SSC.
        setting: spacing and solver of the calibration, as in run.yaml.
        calibrated_on: description of the calibration.
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
        """Confidence (N,) of places from their ``cues`` (N, 5), see ``Cues``."""
        z = _standardised(cues, np.array(self.mean), np.array(self.scale))
        return sigmoid(self.local[0] + z @ np.array(self.local[1:]))

    def map(self, cues: Cues) -> Tensor:
        """Confidence (1, 1, i, j, k) float32 of every voxel of the feature grid."""
        shape = cues.maps.shape[2:]
        flat = self.places(cues.maps[0].flatten(1).T.double().numpy())
        return torch.from_numpy(flat).float().view(1, 1, *shape)

    def of_case(self, mean_local: float | Floats) -> Floats:
        """Confidence of a case from the mean confidence of its places, weighted by ``Cues.weight``."""
        return sigmoid(self.case[0] + self.case[1] * logit(mean_local))

    def write(self, path: str | Path) -> None:
        """Write the model as JSON, atomically."""
        write_json(path, {"version": VERSION, "cues": list(CUES), **asdict(self)})


def fit_logistic(inputs: Floats, shares: Floats, weights: Floats | None = None) -> Floats:
    """Coefficients (K + 1,) of the logistic regression of shares, intercept first.

    They maximise the (quasi-)likelihood of ``sigmoid(b0 + x b)`` with a ridge of 1e-3 a case on all but the intercept,
    by iteratively reweighted least squares (McCullagh and Nelder, Generalized Linear Models, 1989).

    Args:
        inputs: (N, K) of comparable scale.
        shares: (N,) in [0, 1]; 0 and 1 for events.
        weights: (N,) of the cases, 0 or more; None is 1 each.

    Raises:
        ValueError: there is no case, or the shapes do not match.
    """
    if inputs.ndim != 2 or len(inputs) == 0 or shares.shape != (len(inputs),):
        raise ValueError(f"inputs {inputs.shape} and shares {shares.shape} are no cases of a regression")
    weights = np.ones(len(inputs)) if weights is None else weights
    x = np.column_stack([np.ones(len(inputs)), inputs])
    ridge = np.full(x.shape[1], _RIDGE * weights.sum())
    ridge[0] = 0.0
    b = np.zeros(x.shape[1])
    for _ in range(_ITERATIONS):
        p = sigmoid(x @ b)
        curvature = weights * np.maximum(p * (1 - p), 1e-6)
        hessian = (x * curvature[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, x.T @ (weights * (shares - p)) - ridge * b)
        b = b + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return b


def sigmoid(x: Floats) -> Floats:
    """``1 / (1 + exp(-x))``, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def logit(p: Floats | float) -> Floats:
    """Inverse of ``sigmoid``, for shares clipped to [1e-4, 1 - 1e-4]."""
    q = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(q / (1 - q))


def fit_places(cues: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """``mean``, ``scale`` and ``local`` of a model, from cues (N, 5) on organ surfaces.

    ``right`` (N,) is 1 where the surface is within the tolerance, else 0.
    """
    mean, scale = cues.mean(axis=0), np.maximum(cues.std(axis=0), 1e-6)
    return mean, scale, fit_logistic(_standardised(cues, mean, scale), right)


def _standardised(cues: Floats, mean: Floats, scale: Floats) -> Floats:
    """Standardised cues (N, 5); the contrast is bounded below, because air has less than any organ surface."""
    z = (cues - mean) / scale
    contrast = CUES.index("contrast")
    z[:, contrast] = np.maximum(z[:, contrast], _LEAST_CONTRAST)
    return z


def fit_cases(mean_local: Floats, dice: Floats) -> Floats:
    """``case`` of a model, from the mean local confidence (M,) and the mean Dice (M,) of each case."""
    return fit_logistic(logit(mean_local)[:, None], dice)


def read_confidence(path: str | Path) -> ConfidenceModel:
    """Read the model of a confidence file of ``mmreg-calibrate``.

    Raises:
        UserError: the file is missing, is not a confidence file, or has another version.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"confidence={file}: there is no such file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, cues = content.pop("version"), content.pop("cues")
        model = ConfidenceModel(**content)
        known = (version, cues, len(model.mean), len(model.local)) == (VERSION, list(CUES), len(CUES), len(CUES) + 1)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"confidence={file}: no confidence file of mmreg-calibrate") from error
    if not known:
        raise UserError(f"confidence={file}: of another version of this package; calibrate again")
    return model


def check_calibration(
    model: ConfidenceModel, path: str | Path, checkpoint: str | Path | None, setting: Mapping[str, Any]
) -> None:
    """Check that a confidence was calibrated with the settings of a registration.

    Args:
        model: the confidence.
        path: its file, for messages.
        checkpoint: checkpoint of the registration; None for MIND-SSC.
        setting: settings of the registration, as ``ConfidenceModel.setting``.

    Raises:
        UserError: checkpoint, spacing or solver differ.
    """
    if model.checkpoint_sha256 != (None if checkpoint is None else sha256(checkpoint)):
        raise UserError(f"confidence={path}: was calibrated with another checkpoint than {checkpoint or 'none'}")
    now = json.loads(json.dumps(setting))
    for key, value in now.items():
        other = model.setting.get(key)
        name = key
        # Descend to the value that differs: a solver's configuration is too long for a message.
        while isinstance(value, dict) and isinstance(other, dict):
            inner = next((k for k in {**value, **other} if value.get(k) != other.get(k)), None)
            if inner is None:
                break
            name, value, other = f"{name}.{inner}", value.get(inner), other.get(inner)
        if other != value:
            raise UserError(f"confidence={path}: was calibrated with {name}={other}, not {value}")
