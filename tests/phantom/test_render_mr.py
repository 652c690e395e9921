"""MR: magnitude, contrast and thick slices."""

from __future__ import annotations

import numpy as np
import pytest
from abdomens import SUBJECTS, subject

from mmreg_lightning.phantom.render_mr import random_contrast, slice_profiles


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_mr_is_a_magnitude_image(index: int) -> None:
    mr = subject(index).mr
    assert mr.min() >= 0
    assert 500 < np.percentile(mr, 99.5) < 2500
    # Rayleigh distributed noise in the air: its mean exceeds its standard deviation by sqrt(pi / (4 - pi)).
    air = mr[:, -3:]
    assert air.mean() / air.std() > 1.5


def test_mr_contrast_changes_order_between_subjects() -> None:
    contrasts = [random_contrast(np.random.default_rng(seed)) for seed in range(40)]
    for a, b in (("liver", "spleen"), ("fat", "stomach content"), ("muscle", "arterial blood")):
        brighter = sum(contrast[a] > contrast[b] for contrast in contrasts)
        assert 3 < brighter < 37


def test_thick_slices_keep_a_constant_and_blur_one_axis() -> None:
    profile, back = slice_profiles(40, 2.0, 8.0)
    assert profile.shape == (10, 40)
    np.testing.assert_allclose(back @ profile @ np.ones(40), 1, atol=1e-5)
    step = back @ profile @ (np.arange(40) > 19).astype(float)
    assert np.sum((step > 0.1) & (step < 0.9)) >= 3
    np.testing.assert_array_equal(slice_profiles(40, 5.0, 5.0)[0], np.eye(40))
