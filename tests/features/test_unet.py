"""What is the U-Net's own; what all networks must do is in test_learned."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.unet import UNetFeatures


def test_odd_sides_come_back():
    features = UNetFeatures(["MR"], channels=3, widths=(4, 6, 8))
    assert features.body(torch.rand(1, 4, 7, 9, 5)).shape == (1, 3, 7, 9, 5)


def test_without_the_coarse_branch_the_finest_skip_remains():
    features = UNetFeatures(["MR"], channels=3, widths=(4, 6), norm="none")
    x = torch.rand(1, 4, 8, 8, 8)
    torch.nn.init.zeros_(features.project[0].weight)
    torch.nn.init.zeros_(features.project[0].bias)
    torch.testing.assert_close(features.body(x), features.head(features.up[0](x)))


def test_each_level_halves_the_grid():
    features = UNetFeatures(["MR"], channels=3, widths=(4, 6, 8, 10))
    shapes = []
    for down in features.down:
        down.register_forward_hook(lambda module, given, out: shapes.append(tuple(out.shape[1:])))
    features.body(torch.rand(1, 4, 16, 16, 16))
    assert shapes == [(6, 8, 8, 8), (8, 4, 4, 4), (10, 2, 2, 2)]


def test_the_width_of_a_stem_is_the_first_of_widths():
    with pytest.raises(UserError, match=r"^features.width=8: a U-Net has no such setting, only features.widths"):
        UNetFeatures(["CT"], width=8)


def test_there_must_be_a_width():
    with pytest.raises(UserError, match=r"^features.widths=\[\]: must hold one number of channels or more"):
        UNetFeatures(["CT"], widths=[])
