"""Cues and surface errors on fields and shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.confidence.cues import CUES, registration_cues
from mmreg_lightning.functional.smooth import gaussian_smooth


@pytest.fixture
def features():
    torch.manual_seed(3)
    return gaussian_smooth(torch.rand(1, 4, 16, 16, 16), 1.5)


def middle(cues, name):
    return float(cues.maps[0, CUES.index(name), 4:12, 4:12, 4:12].mean())


def test_a_perfect_registration_leaves_nothing(features):
    zero = torch.zeros(1, 3, 16, 16, 16)
    cues = registration_cues(features, features, zero, zero)
    for name in ("residual", "step", "volume_change", "inconsistency"):
        assert middle(cues, name) == pytest.approx(np.log(1e-3), abs=1e-4)
    assert torch.allclose(cues.weight.log(), cues.maps[:, 1:2])


def test_a_way_back_that_misses_is_measured_in_voxels(features):
    there, back = torch.zeros(1, 3, 16, 16, 16), torch.zeros(1, 3, 16, 16, 16)
    there[:, 0], back[:, 0], back[:, 1] = 2.0, -2.0, 0.5
    cues = registration_cues(features, features, there, back)
    assert middle(cues, "inconsistency") == pytest.approx(np.log(0.5), abs=1e-3)
    assert middle(cues, "residual") > np.log(1e-3) + 1


def test_volume_change_is_that_of_the_scale(features):
    grid = torch.arange(16.0).view(1, 1, 16, 1, 1).expand(1, 1, 16, 16, 16)
    scaled = torch.cat([0.1 * grid, torch.zeros(1, 2, 16, 16, 16)], dim=1)
    cues = registration_cues(features, features, scaled, -scaled)
    assert middle(cues, "volume_change") == pytest.approx(np.log(np.log(1.1)), abs=1e-3)
