"""Normalised intensity as features."""

from __future__ import annotations

import torch

from mmreg_lightning.features.intensity import IntensityFeatures


def test_the_mean_of_a_block_within_the_window():
    block = torch.arange(8.0).view(1, 1, 2, 2, 2)
    assert IntensityFeatures(stride=2)(block / 8, "CT").item() == 3.5 / 8
    assert IntensityFeatures(stride=2)(block - 5, "CT").item() == 2 / 8  # the window ends at 0 and at 1


def test_shape_and_any_modality():
    features = IntensityFeatures(stride=4)
    assert features(torch.rand(1, 1, 16, 16, 16), "anything").shape == (1, 1, 4, 4, 4)
    assert (features.stride, features.channels) == (4, 1)
