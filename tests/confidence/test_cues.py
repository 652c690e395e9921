"""Cues and surface errors on fields and shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.calibration.surface_error import surface_errors
from mmreg_lightning.confidence.cues import CUES, registration_cues
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.geometry.grid import Grid


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


def test_surfaces_a_known_distance_apart():
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    fixed, warped = labels.clone(), labels.clone()
    # Slabs through the whole image: their ends at its border are no surfaces.
    fixed[0, 5:10], warped[0, 8:13] = 1, 1
    grid = Grid((20, 20, 20), np.diag([2.0, 1, 1, 1]))
    places, errors = surface_errors(fixed, warped, grid)
    # Surfaces lie at 5, 9 and at 8, 12: 6 mm, 2 mm, 2 mm, 6 mm.
    assert sorted(set(errors.tolist())) == [2.0, 6.0] and len(places) == len(errors) == 4 * 400
    assert set(places[:, 0].tolist()) == {5, 9, 8, 12}
    fixed[0, 15:17] = 2  # an organ of one image only says nothing
    assert len(surface_errors(fixed, warped, grid)[0]) == 4 * 400
    assert len(surface_errors(labels, warped, grid)[0]) == 0
