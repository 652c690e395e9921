"""Learned features beside MIND-SSC: channels, weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.fused import FusedFeatures
from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.features.weights import read_weights
from mmreg_lightning.functional.taylor import taylor_step


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 16, 16, 16)


def test_channels_are_those_of_both_kinds(weights: Path, image: torch.Tensor) -> None:
    fused = FusedFeatures(str(weights), radius=1, dilation=1)
    learned = read_weights(weights).features(image, "MR")
    mind = MindFeatures(1, 1)(image, "MR")
    assert fused.channels == 28 and fused.stride == 2
    assert torch.equal(fused(image, "MR"), torch.cat([learned, mind], dim=1))


@torch.no_grad()
def test_a_weight_counts_squared_differences(weights: Path, image: torch.Tensor) -> None:
    other = torch.rand_like(image)
    plain, heavy = FusedFeatures(str(weights)), FusedFeatures(str(weights), mind_weight=4.0, learned_weight=0.25)
    by_kind = [(f(image, "MR") - f(other, "MR")).square().sum(dim=1) for f in (plain.learned, plain.mind)]
    energy = (heavy(image, "MR") - heavy(other, "MR")).square().sum(dim=1)
    assert torch.allclose(energy, 0.25 * by_kind[0] + 4.0 * by_kind[1], atol=1e-5)


@torch.no_grad()
def test_a_common_weight_is_another_noise_floor(weights: Path, image: torch.Tensor) -> None:
    """(w J'J + alpha^2) d = w J'r is (J'J + alpha^2 / w) d = J'r: alpha keeps its meaning for a weight of 1."""
    other = torch.rand_like(image)
    plain, heavy = (FusedFeatures(str(weights), w, w) for w in (1.0, 4.0))
    steps = [
        taylor_step(f(image, "MR"), f(other, "MR"), alpha=alpha, max_step=1.0)
        for f, alpha in ((plain, 0.2), (heavy, 0.4))
    ]
    assert torch.allclose(*steps, atol=1e-4)


def test_a_weight_of_0_leaves_the_channels_out(weights: Path, image: torch.Tensor) -> None:
    learned = FusedFeatures(str(weights), mind_weight=0)
    assert torch.equal(learned(image, "CT"), read_weights(weights).features(image, "CT")) and not learned.unclipped
    mind = FusedFeatures(str(weights), learned_weight=0)
    assert mind.channels == 12 and torch.equal(mind(image, "CT"), MindFeatures(1, 2)(image, "CT")) and mind.unclipped


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"mind_weight": -1}, "features.mind_weight=-1: must be a number, 0 or more"),
        ({"learned_weight": "much"}, "features.learned_weight=much: must be a number, 0 or more"),
        ({"mind_weight": float("inf")}, "features.mind_weight=inf: must be a finite number, 0 or more"),
        ({"mind_weight": 0, "learned_weight": 0}, "features.learned_weight=0, features.mind_weight=0: one of them"),
        ({"dilation": 0}, "features.dilation=0: must be a whole number, 1 or more"),
    ],
)
def test_what_is_refused(weights: Path, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=f"^{expected}"):
        FusedFeatures(str(weights), **arguments)
