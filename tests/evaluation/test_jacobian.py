from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.evaluation.jacobian import jacobian_statistics


def stretch(factors: list[float]) -> torch.Tensor:
    """u_i of slab i such that J is the factor there: the derivative along I is factor - 1 piece by piece."""
    u = torch.zeros(3, 3 * len(factors), 4, 4)
    slopes = torch.tensor([f - 1 for f in factors]).repeat_interleave(3)
    u[0] = torch.cumsum(slopes, 0).view(-1, 1, 1)
    return u


def test_identity() -> None:
    assert jacobian_statistics(torch.zeros(1, 3, 4, 5, 6)) == (0.0, 0.0)


def test_uniform_scaling_has_no_spread() -> None:
    stats = jacobian_statistics(stretch([1.5]))
    assert stats.folds_percent == 0
    assert stats.sdlogj == pytest.approx(0, abs=1e-6)


def test_two_halves() -> None:
    """J = e^0.2 and e^-0.2 in equal numbers of voxels: the standard deviation of log J is 0.2."""
    u = stretch([math.exp(0.2), math.exp(-0.2)])
    mask = torch.zeros(6, 4, 4)
    mask[[0, 1, 4, 5]] = 1  # leaves out the two slabs whose central difference sees both halves
    assert jacobian_statistics(u, mask).sdlogj == pytest.approx(0.2, abs=1e-6)


def test_a_reflection_folds_everywhere() -> None:
    stats = jacobian_statistics(stretch([-1.0]))
    assert stats.folds_percent == 100
    assert stats.sdlogj == 0


def test_folds_count_and_weigh_on_sdlogj() -> None:
    u = torch.zeros(3, 8, 4, 4)
    u[0, 4:] = -4.0  # central differences give J = -1 at voxels 3 and 4 of 8, 1 elsewhere
    stats = jacobian_statistics(u)
    assert stats.folds_percent == 25
    # values log(1e-9) with probability 1/4, 0 otherwise
    assert stats.sdlogj == pytest.approx(-math.log(1e-9) * math.sqrt(0.25 * 0.75))


def test_empty_mask() -> None:
    with pytest.raises(ValueError, match="mask .* is empty"):
        jacobian_statistics(torch.zeros(3, 4, 4, 4), torch.zeros(4, 4, 4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_field_that_is_not_finite_has_no_statistics(value: float) -> None:
    """A comparison with NaN is false: it would count as a field without folds."""
    u = torch.zeros(1, 3, 6, 6, 6)
    u[0, 1, 5, 5, 5] = value
    mask = torch.zeros(6, 6, 6)
    mask[:2] = 1
    for statistics in (jacobian_statistics(u), jacobian_statistics(u, mask)):
        assert math.isnan(statistics.folds_percent) and math.isnan(statistics.sdlogj)


def test_a_field_whose_determinants_overflow_has_no_statistics() -> None:
    assert math.isnan(jacobian_statistics(torch.randn(1, 3, 6, 6, 6) * 1e30).folds_percent)
