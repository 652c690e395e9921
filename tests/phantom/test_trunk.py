"""Surfaces of the trunk."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import LABEL_IDS, paint_labels
from mmreg_lightning.phantom.trunk import TrunkModel

POINTS = np.random.default_rng(0).uniform(-170, 170, (3, 30000)).astype(np.float32)


@pytest.fixture(params=range(3))
def model(request: pytest.FixtureRequest) -> TrunkModel:
    return TrunkModel(np.random.default_rng(request.param))


def test_skin_muscle_and_cavity_lie_within_each_other(model: TrunkModel) -> None:
    trunk = model.frame(np.arange(POINTS.shape[1]), POINTS)
    np.testing.assert_array_equal(trunk.points, POINTS[:, trunk.index])
    assert (trunk.skin < 10).all() and 0.2 < len(trunk.index) / POINTS.shape[1] < 0.9
    assert ((trunk.muscle - trunk.skin) >= 5 - 1e-3).all()
    assert (trunk.cavity > trunk.muscle).all()
    np.testing.assert_array_equal(trunk.abdomen, np.maximum(trunk.cavity, trunk.diaphragm))


def test_lungs_lie_above_and_the_spine_behind(model: TrunkModel) -> None:
    trunk = model.frame(np.arange(POINTS.shape[1]), POINTS)
    labels = paint_labels([*model.shell_layers(trunk), *model.spine_layers(trunk)], POINTS.shape[1])
    x, y, z = (POINTS[axis] for axis in range(3))
    assert z[labels == LABEL_IDS["lungs"]].mean() > 50
    spine = labels == LABEL_IDS["vertebral column"]
    assert y[spine].mean() < -30 and abs(x[spine].mean()) < 15
    assert x[labels == LABEL_IDS["right psoas"]].min() > x[labels == LABEL_IDS["left psoas"]].max()
