"""Smooth random fields: closed forms of the lattice that they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.noise import SmoothField, bounded_normal, bounded_scalar


@pytest.fixture(scope="module")
def field() -> SmoothField:
    return SmoothField(np.random.default_rng(0), length=20.0, period=200.0, channels=2)


def lattice(field: SmoothField) -> np.ndarray:
    """Its points (3, N), mm, in the order of ``field.lattice``."""
    n = field.lattice.shape[1]
    return field.spacing * np.stack(np.meshgrid(*(np.arange(n),) * 3, indexing="ij")).reshape(3, -1).astype(np.float32)


def test_the_lattice_is_two_fifths_of_the_length(field: SmoothField) -> None:
    assert field.spacing == 8.0 and field.lattice.shape == (2, 25, 25, 25)


def test_mean_0_and_variance_1(field: SmoothField) -> None:
    values = field(lattice(field))
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=1), 1, rtol=1e-4)
    assert abs(np.corrcoef(values)[0, 1]) < 0.3, "the channels are drawn on their own"


def test_it_is_interpolated_linearly_between_the_points_of_the_lattice(field: SmoothField) -> None:
    for axis in range(3):
        ends = np.zeros((3, 2), np.float32)
        ends[axis] = [8.0, 16.0]
        quarter = np.zeros((3, 1), np.float32)
        quarter[axis] = 10.0
        np.testing.assert_allclose(field(quarter)[:, 0], field(ends) @ [0.75, 0.25], rtol=1e-4, atol=1e-5)


def test_it_repeats_after_its_period_and_not_before(field: SmoothField) -> None:
    points = np.random.default_rng(1).uniform(0, 200, (3, 100)).astype(np.float32)
    for axis in range(3):
        step = np.zeros((3, 1), np.float32)
        step[axis] = 200.0
        np.testing.assert_allclose(field(points + step), field(points), atol=1e-3)
        assert np.abs(field(points + step / 2) - field(points)).mean() > 0.3


def test_a_filter_of_that_length_correlates_neighbours() -> None:
    """White noise filtered with a Gaussian of s has the autocorrelation exp(-d^2 / 4 s^2)."""
    field = SmoothField(np.random.default_rng(3), length=20.0, period=600.0)
    points = np.random.default_rng(1).uniform(0, 600, (3, 20000)).astype(np.float32)
    for distance in (16.0, 32.0):
        moved = points + np.array([[distance], [0], [0]], np.float32)
        found = np.corrcoef(field(points)[0], field(moved)[0])[0, 1]
        assert found == pytest.approx(np.exp(-(distance**2) / (4 * 20.0**2)), abs=0.1)


def test_no_freak_is_drawn() -> None:
    drawn = bounded_normal(np.random.default_rng(0), 3.0, 4000)
    assert drawn.min() == -6.0 and drawn.max() == 6.0
    assert 0.9 * 3 < drawn.std() < 3
    assert type(bounded_scalar(np.random.default_rng(0), 3.0)) is float
