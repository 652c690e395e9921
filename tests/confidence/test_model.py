"""Logistic regression, and the model's fit, file and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from confidence_model import SETTING, model

from mmreg_lightning.confidence.model import (
    check_calibration,
    fit_cases,
    fit_logistic,
    fit_places,
    logit,
    read_confidence,
    sigmoid,
)
from mmreg_lightning.errors import UserError


def test_file_and_back(tmp_path):
    model().write(tmp_path / "confidence.json")
    assert read_confidence(tmp_path / "confidence.json") == model()


def test_what_is_no_confidence_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_confidence(tmp_path / "none.json")
    path = tmp_path / "confidence.json"
    for text in ("{}", "[1]", "no json"):
        path.write_text(text)
        with pytest.raises(UserError, match="no confidence file of mmreg-calibrate"):
            read_confidence(path)
    model().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(UserError, match="calibrate again"):
        read_confidence(path)


def test_another_checkpoint_or_solver_is_refused(tmp_path):
    check_calibration(model(), "c.json", None, SETTING)
    with pytest.raises(UserError, match=r"c.json: was calibrated with spacing_mm=4.0, not 3.0"):
        check_calibration(model(), "c.json", None, {**SETTING, "spacing_mm": 3.0})
    (tmp_path / "a.ckpt").write_bytes(b"a")
    with pytest.raises(UserError, match="another checkpoint than"):
        check_calibration(model(), "c.json", tmp_path / "a.ckpt", SETTING)


def test_fits_find_what_was_put_in():
    rng = np.random.default_rng(0)
    cues = rng.normal(2.0, 3.0, size=(20000, 5))
    right = (rng.random(20000) < 1 / (1 + np.exp(cues[:, 2] - 1))).astype(float)
    mean, scale, local = fit_places(cues, right)
    assert mean == pytest.approx([2.0] * 5, abs=0.1) and scale == pytest.approx([3.0] * 5, abs=0.1)
    assert local[3] / scale[2] == pytest.approx(-1, abs=0.06)
    assert np.abs(local[[1, 2, 4, 5]]).max() < 0.12
    mean_local = np.linspace(0.5, 0.95, 40)
    dice = 1 / (1 + np.exp(1 - 1.5 * np.log(mean_local / (1 - mean_local))))
    assert fit_cases(mean_local, dice) == pytest.approx([-1, 1.5], abs=0.05)


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
