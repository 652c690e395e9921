"""A confidence of known coefficients."""

from __future__ import annotations

from typing import Any

from mmreg_lightning.confidence.model import ConfidenceModel

SETTING = {"spacing_mm": 4.0, "solver": {"iterations": 3}}


def model(**changes: Any) -> ConfidenceModel:
    """Only the first cue counts: right where it is below 0."""
    values: dict[str, Any] = {
        "mean": [0.0] * 5,
        "scale": [1.0] * 5,
        "local": [0.0, -4.0, 0.0, 0.0, 0.0, 0.0],
        "case": [0.0, 1.0],
        "tolerance_mm": 8.0,
        "low": 0.6,
        "checkpoint_sha256": None,
        "setting": SETTING,
        "calibrated_on": {},
    }
    return ConfidenceModel(**{**values, **changes})
