"""What the tests of the tensor functions share: the tolerances of each dtype, and smooth random fields."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmreg_lightning.functional.warp import identity_grid

TOLERANCES = {
    torch.float32: {"rtol": 1e-4, "atol": 2e-5},
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=TOLERANCES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def assert_close() -> Callable[[Tensor, Tensor], None]:
    """Comparison at the tolerance of the dtype of the first tensor."""

    def compare(actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, **TOLERANCES[actual.dtype])

    return compare


@pytest.fixture
def smooth_field() -> Callable[..., Tensor]:
    """Random displacement (1, 3, n, n, n), at most ``peak`` voxels along each axis: waves of n voxels."""

    def build(n: int = 24, peak: float = 1.0) -> Tensor:
        points = identity_grid((n, n, n), dtype=torch.float64)[0]
        field = torch.zeros(1, 3, n, n, n, dtype=torch.float64)
        for channel in range(3):
            directions = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1)
            phases = 2 * math.pi * torch.rand(4, 1, 1, 1, dtype=torch.float64)
            waves = torch.einsum("wa,aijk->wijk", 2 * math.pi / n * directions, points) + phases
            field[0, channel] = peak * torch.sin(waves).mean(0)
        return field

    return build
