"""Against the definitions of the challenge, written out a second time without this package's code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from surface_distance import compute_robust_hausdorff, compute_surface_distances

from mmreg_lightning.evaluation.learn2reg import learn2reg_measures

SHAPE = (26, 24, 22)


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    smooth = gaussian_filter(random.standard_normal((2, *SHAPE)), (0, 3, 3, 3))
    fixed, moving = (np.digitize(s, np.quantile(s, [0.6, 0.75, 0.9])) for s in smooth)
    fixed[fixed == 3] = 7  # an organ of the fixed image only
    displacement = gaussian_filter(random.standard_normal((*SHAPE, 3)), (2, 2, 2, 0)) * 25
    return fixed, moving, displacement


def test_equals_the_definitions(case):
    fixed, moving, u = case
    grid = np.indices(SHAPE)
    warped = map_coordinates(moving, grid + np.moveaxis(u, -1, 0), order=0)
    shared = [1, 2]
    dice = [2 * ((fixed == i) & (warped == i)).sum() / ((fixed == i).sum() + (warped == i).sum()) for i in shared]
    hd95 = [
        compute_robust_hausdorff(compute_surface_distances(fixed == i, warped == i, np.ones(3)), 95) for i in shared
    ]
    jacobian = np.stack([np.stack(np.gradient(u[..., c]), -1) for c in range(3)], -2) + np.eye(3)
    shifted = np.linalg.det(jacobian[2:-2, 2:-2, 2:-2]) + 3
    found = learn2reg_measures(fixed, moving, u)
    assert found.dice_l2r == pytest.approx(np.mean(dice), abs=1e-6)
    assert found.hd95_l2r == pytest.approx(np.mean(hd95), abs=1e-6)
    assert found.sdlogj_l2r == pytest.approx(np.log(shifted.clip(1e-9, 1e9)).std(), abs=1e-6)
    assert found.folds_l2r == pytest.approx((shifted <= 0).mean(), abs=1e-6)


def test_folds_are_not_seen_and_an_organ_that_is_lost_is_infinitely_far(case):
    fixed, moving, u = case
    folding = np.zeros_like(u)
    folding[..., 0] = -1.5 * np.arange(SHAPE[0])[:, None, None]
    folded = learn2reg_measures(fixed, moving, folding)
    assert folded.folds_l2r == 0  # J = -0.5 everywhere
    away = np.full_like(u, 100.0)
    assert learn2reg_measures(fixed, moving, away).hd95_l2r == float("inf")


def test_no_common_organ_and_a_field_of_another_size(case):
    fixed, moving, u = case
    assert np.isnan(learn2reg_measures(fixed, np.zeros_like(moving), u).dice_l2r)
    with pytest.raises(ValueError, match="displacement of shape"):
        learn2reg_measures(fixed[1:], moving, u)
