"""Smooth random features and the same moved by a known translation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmreg_lightning.functional.warp import identity_grid


def _pattern(points: Tensor, period: float = 16.0) -> Tensor:
    """Smooth random features (1, 8, I, J, K) in [0, 1] at points (1, 3, I, J, K) in voxels."""
    generator = torch.Generator().manual_seed(3)
    channels = []
    for _ in range(8):
        waves = torch.nn.functional.normalize(torch.randn(3, 3, generator=generator), dim=1) * 2 * math.pi / period
        phases = 2 * math.pi * torch.rand(3, 1, 1, 1, generator=generator)
        channels.append(torch.sin(torch.einsum("wa,aijk->wijk", waves, points[0]) + phases).mean(0))
    return 0.5 + 0.5 * torch.stack(channels)[None]


def _moved(shape: tuple[int, int, int], translation: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Fixed and moving features with moving(x + t) = fixed(x), and t (1, 3, 1, 1, 1)."""
    points = identity_grid(shape)
    t = torch.tensor(translation).view(1, 3, 1, 1, 1)
    return _pattern(points), _pattern(points - t), t


@pytest.fixture
def pattern() -> Callable[..., Tensor]:
    return _pattern


@pytest.fixture
def moved() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    return _moved
