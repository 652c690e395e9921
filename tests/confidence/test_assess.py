"""Assessment of cues whose confidence is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from confidence_model import model

from mmreg_lightning.confidence.assess import assess
from mmreg_lightning.confidence.cues import Cues
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume


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
