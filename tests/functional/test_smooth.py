"""Gaussian smoothing against SciPy's."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from mmreg_lightning.functional.smooth import gaussian_smooth


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.7])
def test_agrees_with_scipy(sigma, assert_close):
    x = torch.rand(1, 1, 10, 11, 12, dtype=torch.float64)
    expected = gaussian_filter(x[0, 0].numpy(), sigma, mode="nearest", radius=math.ceil(3 * sigma))
    assert_close(gaussian_smooth(x, sigma)[0, 0], torch.from_numpy(expected))


def test_one_sigma_for_each_axis(assert_close):
    x = torch.rand(1, 1, 8, 8, 8, dtype=torch.float64)
    expected = gaussian_filter(x[0, 0].numpy(), (1.0, 0.0, 2.0), mode="nearest", radius=(3, 0, 6))
    assert_close(gaussian_smooth(x, (1.0, 0.0, 2.0))[0, 0], torch.from_numpy(expected))


def test_sigma_zero_is_the_input():
    x = torch.rand(2, 3, 4, 4, 4)
    assert gaussian_smooth(x, 0.0) is x


def test_constant_stays_constant(dtype, assert_close):
    x = torch.full((2, 3, 5, 6, 7), 0.3, dtype=dtype)
    assert_close(gaussian_smooth(x, 1.5), x)


def test_channels_and_samples_stay_apart(dtype, assert_close):
    x = torch.rand(2, 3, 6, 6, 6, dtype=dtype)
    assert_close(gaussian_smooth(x, 1.0)[1:, 2:], gaussian_smooth(x[1:, 2:], 1.0))


def test_differentiable():
    x = torch.rand(1, 2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: gaussian_smooth(t, 0.7), (x,))
