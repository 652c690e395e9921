"""Agreement of a descent with the supervised one."""

from __future__ import annotations

import pytest
import torch
from shapes import cubes

from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.regularisers import GaussianRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.targets import OneHotTargets, paired_targets

STEP = DescentStep(GaussianRegulariser())


@pytest.fixture
def targets():
    fixed, moving = cubes()
    return paired_targets(OneHotTargets(1.0), fixed, moving, [1], stride=1)


def test_target_maps_agree_with_themselves(targets):
    assert descent_agreement(STEP, *targets, *targets, [2, 1]) == pytest.approx(1, abs=1e-3)


def test_exchanged_images_lead_the_other_way(targets):
    fixed, moving = targets
    assert descent_agreement(STEP, moving, fixed, fixed, moving, [1], steps=1) < -0.9


def test_only_what_has_weight_is_judged(targets):
    """Features are those of the labels on the left, and lead the other way on the right, which a mask leaves out."""
    fixed, moving = targets
    left = torch.zeros_like(fixed[:, :1])
    left[..., : left.shape[-1] // 2] = 1
    f, m = fixed * left + moving * (1 - left), moving * left + fixed * (1 - left)
    everything = torch.ones_like(left)
    mixed = descent_agreement(STEP, f, m, fixed, moving, [1], steps=1)
    assert descent_agreement(STEP, f, m, fixed, moving, [1], steps=1, weights=(left, everything)) > mixed + 0.3
    whole = descent_agreement(STEP, f, m, fixed, moving, [1], weights=(everything, everything))
    assert whole == pytest.approx(descent_agreement(STEP, f, m, fixed, moving, [1]), abs=1e-6)
    assert descent_agreement(STEP, f, m, fixed, moving, [2, 1], weights=(0 * left, everything)) == 0


def test_features_without_contrast_lead_nowhere(targets):
    blank = 0 * targets[0]
    assert descent_agreement(STEP, blank, blank, *targets, [2, 1]) == 0
