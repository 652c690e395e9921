"""The known displacement: bounded, invertible, and still at the spine."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.displacement import KnownDisplacement, smallest_jacobian


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("amplitude", [15.0, 60.0])
def test_displacement_is_bounded_and_invertible(seed: int, amplitude: float) -> None:
    known = KnownDisplacement(np.random.default_rng(seed), amplitude)
    axes = [np.arange(-half, half + 1, 6, dtype=np.float32) for half in (192, 160, 192)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    field = known(points.reshape(3, -1)).reshape(points.shape)
    length = np.linalg.norm(field, axis=0)
    assert length.max() < amplitude * 1.05
    assert length.max() > 8
    assert smallest_jacobian(field, 6.0) > 0.3


def test_an_amplitude_of_0_is_no_displacement() -> None:
    points = np.random.default_rng(0).uniform(-150, 150, (3, 50)).astype(np.float32)
    assert not KnownDisplacement(np.random.default_rng(1), 0.0)(points).any()


def test_the_spine_hardly_moves() -> None:
    """At its centre line 0.15 of what it would be: there the factor is 1 - 0.85 exp(0)."""
    known = KnownDisplacement(np.random.default_rng(2), 30.0)
    z = np.arange(-150.0, 150.0, 10.0, dtype=np.float32)
    spine = known(np.stack([0 * z, 0 * z - 75, z]))
    front = known(np.stack([0 * z, 0 * z + 60, z]))
    assert np.linalg.norm(spine, axis=0).max() < 0.15 * 30.0 * 1.05
    assert np.linalg.norm(front, axis=0).mean() > 2 * np.linalg.norm(spine, axis=0).mean()


@pytest.mark.parametrize("spacing", [1.0, 4.0])
def test_jacobians_of_linear_fields(spacing: float) -> None:
    axes = np.stack(np.meshgrid(*(spacing * np.arange(n, dtype=float) for n in (5, 6, 7)), indexing="ij"))
    assert smallest_jacobian(0 * axes, spacing) == pytest.approx(1)
    assert smallest_jacobian(0.1 * axes, spacing) == pytest.approx(1.1**3)
    squeezed = np.stack([-0.5 * axes[0], 0.2 * axes[1], 0 * axes[2]])
    assert smallest_jacobian(squeezed, spacing) == pytest.approx(0.5 * 1.2)
    sheared = np.stack([3 * axes[1], 0 * axes[1], 0 * axes[2]])
    assert smallest_jacobian(sheared, spacing) == pytest.approx(1)
    folded = np.stack([-2 * axes[0], 0 * axes[1], 0 * axes[2]])
    assert smallest_jacobian(folded, spacing) == pytest.approx(-1)
