"""The model's file, its refusals, and the sentence that it leads to."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mmreg_lightning.confidence.assess import assess
from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.confidence.model import ConfidenceModel, check_calibration, fit_cases, fit_places, read_confidence
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume

SETTING = {"spacing_mm": 4.0, "solver": {"iterations": 3}}


def model(**changes):
    # Only the first cue counts: right where it is below 0.
    values = {
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


def cues(bad):
    maps = torch.full((1, 5, 8, 8, 8), -1.0)
    maps[0, 0][bad] = 1.0
    return Cues(maps, torch.ones(1, 1, 8, 8, 8))


def test_a_wrong_region_is_named_by_its_place():
    features = Grid((8, 8, 8), np.array([[8.0, 0, 0, -60], [0, 8, 0, 10], [0, 0, 8, 0], [0, 0, 0, 1]]))
    fixed = Volume(torch.zeros(1, 16, 16, 16), Grid((16, 16, 16), features.affine @ np.diag([0.5, 0.5, 0.5, 1])))
    bad = torch.zeros(8, 8, 8, dtype=torch.bool)
    bad[1, 2:6, 2:6], bad[7, 7, 7] = True, True  # 16 voxels, and a smaller region
    found = assess(model(), cues(bad), features, fixed)
    assert found.doubtful == pytest.approx(17 / 512)
    assert found.position[0] == -52 and 26 <= found.position[1] <= 50
    assert tuple(found.volume.data.shape) == (1, 16, 16, 16)
    p = 1 / (1 + np.exp(-4.0))
    share = p * 495 / 512 + (1 - p) * 17 / 512
    assert found.case == pytest.approx(share, abs=1e-4)
    assert not found.low and found.sentence() is None
    low = assess(model(low=0.99), cues(bad), features, fixed)
    assert low.low
    assert low.sentence().startswith(
        "this registration is likely wrong here: 3 % of what there is to align is probably"
    )
    assert "about (L 52, A " in low.sentence() and "below 0.99" in low.sentence()
    assert low.metrics()["confidence_low"] and low.metrics()["doubtful_percent"] == pytest.approx(100 * 17 / 512)


def test_nothing_doubtful_has_no_place():
    features = Grid((8, 8, 8), np.eye(4))
    found = assess(
        model(), cues(torch.zeros(8, 8, 8, dtype=torch.bool)), features, Volume(torch.zeros(1, 8, 8, 8), features)
    )
    assert found.position is None and found.doubtful == 0
