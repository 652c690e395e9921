"""Layers of the organs."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import LABEL_IDS, paint_labels
from mmreg_lightning.phantom.organs import OrganModel
from mmreg_lightning.phantom.trunk import TrunkModel

ORGANS = "liver,spleen,stomach,pancreas,aorta,right kidney,left kidney,gall bladder,inferior vena cava".split(",")


@pytest.mark.parametrize("seed", range(3))
def test_every_organ_fills_a_plausible_volume_within_the_abdomen(seed: int) -> None:
    step = 6.0
    axes = [np.arange(-half, half, step, dtype=np.float32) for half in (150, 120, 150)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    rng = np.random.default_rng(seed)
    trunk = TrunkModel(rng).frame(np.arange(points.shape[1]), points)
    layers = list(OrganModel(rng).layers(trunk, np.full(len(trunk.index), -50, np.float32)))
    labels = paint_labels(layers, points.shape[1])
    millilitres = {name: (labels == LABEL_IDS[name]).sum() * step**3 / 1000 for name in ORGANS}
    assert 700 < millilitres["liver"] < 2500
    assert 60 < millilitres["right kidney"] < 350 and 60 < millilitres["left kidney"] < 350
    assert all(2 < volume < 2500 for volume in millilitres.values())
    outside = np.setdiff1d(np.arange(points.shape[1]), trunk.index[trunk.cavity < 6])
    assert not labels[outside].any()
