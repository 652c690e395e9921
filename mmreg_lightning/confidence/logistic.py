"""Logistic regression of shares in [0, 1] on few cues, by iteratively reweighted least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_RIDGE = 1e-3  # of the standardised coefficients: keeps them finite where classes are separable
_ITERATIONS = 50
_TOLERANCE = 1e-9


def fit_logistic(inputs: Floats, shares: Floats, weights: Floats | None = None) -> Floats:
    """Coefficients that maximise the (quasi-)likelihood of ``sigmoid(b0 + x b)``, with a ridge of 1e-3 a case.

    Newton's method (McCullagh and Nelder, Generalized Linear Models, 1989); the ridge leaves the intercept alone.

    Args:
        inputs: (N, K); of comparable scale, as the ridge is the same for all.
        shares: (N,) in [0, 1]; 0 and 1 for events.
        weights: (N,) of the cases, 0 or more; None is 1 each.

    Returns:
        (K + 1,), the intercept first.

    Raises:
        ValueError: there is no case, or shapes differ.
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
        step = np.linalg.solve(
            (x * curvature[:, None]).T @ x + np.diag(ridge), x.T @ (weights * (shares - p)) - ridge * b
        )
        b = b + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return b


def sigmoid(x: Floats) -> Floats:
    """``1 / (1 + exp(-x))``, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def logit(p: Floats | float) -> Floats:
    """Inverse of ``sigmoid``; shares are kept 1e-4 away from 0 and 1."""
    q = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(q / (1 - q))
