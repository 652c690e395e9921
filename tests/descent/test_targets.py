"""Target maps of organ labels, and the steps that they supervise."""

from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.descent.regularisers import NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.targets import OneHotTargets, SignedDistanceTargets, paired_targets
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import identity_grid


def ball(centre, radius, side=24):
    """Label map (1, 1, side, side, side) with a ball of label 1."""
    points = identity_grid((side,) * 3)
    centre = torch.tensor(centre).view(1, 3, 1, 1, 1)
    return ((points - centre).square().sum(1, keepdim=True) <= radius**2).long()


def test_one_hot_targets_are_shares_of_a_feature_voxel():
    labels = torch.zeros(1, 1, 4, 4, 4, dtype=torch.long)
    labels[:, :, :3] = 5
    maps = OneHotTargets(0.0)(labels, [5, 2], 2)
    assert maps[0, 0, :, 0, 0].tolist() == [1.0, 0.5] and maps[0, 1].abs().max() == 0


def test_signed_distance_targets_are_measured_in_feature_voxels():
    # The surface lies between voxels 7 and 8: the first four feature voxels have centres 3.5, 2.5, 1.5, 0.5 inside.
    labels = torch.zeros(1, 1, 16, 4, 4, dtype=torch.long)
    labels[:, :, :8] = 1
    profile = SignedDistanceTargets(tau=2.0)(labels, [1], 2)[0, 0, :4, 0, 0]
    expected = [0.5 + 0.25 * (math.tanh((d + 0.25) / 2) + math.tanh((d - 0.25) / 2)) for d in (3.5, 2.5, 1.5, 0.5)]
    assert profile.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("kind", "name"), [(OneHotTargets, "sigma"), (SignedDistanceTargets, "tau")])
def test_negative_scales_are_refused(kind, name):
    with pytest.raises(UserError, match=f"targets.{name}=-1.0"):
        kind(-1.0)


@pytest.mark.parametrize("kind", [OneHotTargets(1.0), SignedDistanceTargets(3.0)], ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("direction", [(2.0, 0.0, 0.0), (0.0, -2.0, 0.0), (1.5, 0.0, -1.5)], ids=str)
def test_supervised_step_points_to_the_organ(kind, direction):
    # moving(x + u) = fixed(x): the moving ball lies at centre + t, so u = t.
    fixed = ball((12.0, 12.0, 12.0), 5.0)
    moving = ball(tuple(12.0 + d for d in direction), 5.0)
    targets = paired_targets(kind, fixed, moving, [1], stride=1)
    step = DescentStep(NoRegulariser(), alpha=0.05)
    update = step.update(*targets, torch.zeros(1, 3, 24, 24, 24))
    mean = update.sum(dim=(0, 2, 3, 4))
    t = torch.tensor(direction)
    assert torch.nn.functional.cosine_similarity(mean, t, dim=0) > 0.99
    assert update.norm(dim=1).max() <= 1 + 1e-4


def test_organ_of_one_image_contributes_nothing():
    fixed, moving = ball((12.0, 12.0, 12.0), 4.0), ball((13.0, 12.0, 12.0), 4.0)
    lonely = fixed.clone()
    lonely[:, :, :4] = 2
    with_it = paired_targets(OneHotTargets(0.0), lonely, moving, [1, 2], stride=1)
    without = paired_targets(OneHotTargets(0.0), fixed, moving, [1, 2], stride=1)
    assert with_it[0][:, 1].abs().max() == 0
    assert torch.equal(with_it[0], without[0]) and torch.equal(with_it[1], without[1])


def test_shared_organs_are_found_for_each_item_of_a_batch():
    empty = torch.zeros(1, 1, 24, 24, 24, dtype=torch.long)
    organ = ball((12.0, 12.0, 12.0), 4.0)
    fixed, _ = paired_targets(OneHotTargets(0.0), torch.cat([organ, organ]), torch.cat([organ, empty]), [1], stride=2)
    assert fixed.shape == (2, 1, 12, 12, 12)
    assert fixed[0].max() == 1 and fixed[1].max() == 0
