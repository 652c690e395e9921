from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.confidence.logistic import fit_logistic, logit, sigmoid


def test_known_parameters_are_recovered():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40000, 2))
    p = sigmoid(0.5 + x @ [1.2, -0.7])
    events = (rng.random(40000) < p).astype(float)
    assert fit_logistic(x, events) == pytest.approx([0.5, 1.2, -0.7], abs=0.06)
    # Shares carry no noise; the ridge of a thousandth is all that remains.
    assert fit_logistic(x, p) == pytest.approx([0.5, 1.2, -0.7], abs=0.02)


def test_without_inputs_that_tell_anything_it_is_the_mean():
    b = fit_logistic(np.zeros((10, 1)), np.array([1.0] * 3 + [0.0] * 7))
    assert sigmoid(b[0]) == pytest.approx(0.3) and b[1] == 0


def test_weights_count_as_repetitions():
    x, y = np.array([[0.0], [1.0], [2.0], [1.0]]), np.array([0.0, 1.0, 1.0, 0.0])
    assert fit_logistic(x, y, np.array([2.0, 1, 1, 1])) == pytest.approx(
        fit_logistic(np.vstack([x, x[:1]]), np.append(y, y[0])), abs=1e-6
    )


def test_separable_classes_stay_finite():
    b = fit_logistic(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]))
    assert np.isfinite(b).all() and b[1] > 1


def test_logit_inverts_sigmoid():
    assert logit(sigmoid(np.array([-3.0, 0, 2]))) == pytest.approx([-3, 0, 2])
    with pytest.raises(ValueError, match="no cases"):
        fit_logistic(np.zeros((0, 2)), np.zeros(0))
