"""Random fields."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.noise import SmoothField, bounded_normal, bounded_scalar


def test_a_field_is_standardised_periodic_and_independent_of_its_sampling() -> None:
    field = SmoothField(np.random.default_rng(0), length=10, period=100, channels=2)
    points = np.random.default_rng(1).uniform(-200, 200, (3, 20000)).astype(np.float32)
    values = field(points)
    assert values.shape == (2, 20000) and values.dtype == np.float32
    assert np.abs(values.mean(axis=1)).max() < 0.05 and np.abs(values.std(axis=1) - 1).max() < 0.1
    np.testing.assert_allclose(field(points + 100), values, atol=1e-3)
    np.testing.assert_array_equal(field(points[:, 5:6])[:, 0], values[:, 5])


def test_values_are_similar_within_the_length_and_not_beyond() -> None:
    field = SmoothField(np.random.default_rng(0), length=10, period=300)
    points = np.random.default_rng(1).uniform(0, 300, (3, 5000)).astype(np.float32)

    def correlation(distance: float) -> float:
        moved = points + np.float32([[distance], [0], [0]])
        return float(np.corrcoef(field(points)[0], field(moved)[0])[0, 1])

    # White noise filtered by a Gaussian: exp(-(distance / (2 length))^2).
    assert abs(correlation(10) - np.exp(-0.25)) < 0.08
    assert abs(correlation(60)) < 0.15


def test_deviates_are_bounded_by_two_standard_deviations() -> None:
    values = bounded_normal(np.random.default_rng(0), 3.0, 5000)
    assert values.max() == 6.0 and values.min() == -6.0
    assert type(bounded_scalar(np.random.default_rng(0), 3.0)) is float
