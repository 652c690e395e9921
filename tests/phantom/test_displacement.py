"""The known displacement: bounded and invertible."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.displacement import KnownDisplacement, smallest_jacobian


def test_smallest_jacobian_of_a_stretch():
    i, j, k = np.meshgrid(*(3.0 * np.arange(n) for n in (5, 6, 7)), indexing="ij")
    field = np.stack([-0.5 * i, 0.2 * j, np.zeros_like(k)])
    assert smallest_jacobian(field, 3.0) == pytest.approx(0.5 * 1.2)


def test_amplitude_zero_moves_nothing():
    known = KnownDisplacement(np.random.default_rng(0), 0.0)
    assert not known(np.ones((3, 5), np.float32)).any()


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
