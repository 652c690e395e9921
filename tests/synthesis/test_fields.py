"""Smooth random fields."""

from __future__ import annotations

import numpy as np
import torch

from mmreg_lightning.synthesis.fields import smooth_field


def test_zero_mean_unit_variance_and_independent_channels():
    field = smooth_field(np.random.default_rng(1), (40, 32, 36), 4.0, 3)
    assert field.shape == (3, 40, 32, 36) and field.dtype == torch.float32
    torch.testing.assert_close(field.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(field.std(dim=(1, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    assert np.abs(np.corrcoef(field.flatten(1).numpy()) - np.eye(3)).max() < 0.2


def test_longer_is_smoother():
    steps = [
        float(smooth_field(np.random.default_rng(1), (48, 48, 48), length)[0].diff(dim=0).abs().mean())
        for length in (2.0, 6.0, 18.0)
    ]
    assert steps[0] > 2 * steps[1] > 4 * steps[2]


def test_a_thin_grid_has_one():
    assert torch.isfinite(smooth_field(np.random.default_rng(0), (1, 1, 8), 30.0)).all()
