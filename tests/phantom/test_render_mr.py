"""MR images: magnitudes with random contrast, noise and slices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import Layer
from mmreg_lightning.phantom.render_mr import random_contrast, render_mr, slice_profiles
from mmreg_lightning.phantom.subject import PhantomSubject

Make = Callable[..., PhantomSubject]


@pytest.mark.parametrize("index", range(4))
def test_mr_is_a_magnitude_image(index: int, subject: Make) -> None:
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


def test_the_contrast_stays_within_its_bounds_and_fat_is_one_tissue() -> None:
    for seed in range(20):
        contrast = random_contrast(np.random.default_rng(seed))
        assert contrast["air"] == 0 and contrast["visceral fat"] == pytest.approx(0.97 * contrast["fat"])
        soft = {tissue: value for tissue, value in contrast.items() if tissue not in ("air", "gas", "lung")}
        assert 0.048 <= min(soft.values()) and max(soft.values()) <= 1.2


def test_noise_of_the_air_is_that_of_a_magnitude() -> None:
    """Rayleigh distributed: mean and standard deviation are sqrt(pi / 2) and sqrt(2 - pi / 2) times sigma."""
    shape, spacing = (32, 32, 32), np.array([10.0, 10.0, 10.0])  # coarser than any slice: the noise stays white
    points = np.zeros((3, 32**3), np.float32)
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    air = render_mr([], np.zeros(32**3, np.float32), points, shape, spacing, *rngs)
    assert air.shape == shape and air.min() >= 0
    assert air.mean() / air.std() == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.02)
    assert 15 <= air.mean() / math.sqrt(math.pi / 2) <= 40


def test_the_bias_field_multiplies() -> None:
    """The same tissue at two places of the world differs, by a factor of less than e^1."""
    shape, spacing = (24, 24, 24), np.array([10.0, 10.0, 10.0])
    axes = [10.0 * np.arange(24, dtype=np.float32) for _ in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    layer = Layer("fat", np.arange(24**3), np.full(24**3, -50.0, np.float32))
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    image = render_mr([layer], np.zeros(24**3, np.float32), points, shape, spacing, *rngs)
    blocks = image.reshape(4, 6, 4, 6, 4, 6).mean(axis=(1, 3, 5))
    assert 1.1 < blocks.max() / blocks.min() < math.e
