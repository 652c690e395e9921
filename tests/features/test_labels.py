"""Organ labels as features."""

from __future__ import annotations

import torch

from mmreg_lightning.features.labels import LabelFeatures


def test_channels_are_shares_of_the_organs():
    mr, ct = torch.zeros(2, 1, 1, 8, 8, 8, dtype=torch.long)
    mr[:, :, :3], ct[:, :, :, :4] = 4, 9
    features = LabelFeatures([4, 9], stride=2, sigma=0.0)
    assert features(mr, "MR")[0, 0, :, 0, 0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert features(mr, "MR")[0, 1].abs().max() == 0
    assert features(ct, "CT")[0, 1, 2, :, 3].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert (features.stride, features.channels, features.sees) == (2, 2, "labels")


def test_indicators_are_smoothed_in_feature_voxels():
    labels = torch.zeros(1, 1, 22, 2, 2, dtype=torch.long)
    labels[:, :, 10:12] = 1
    profile = LabelFeatures([1], stride=2, sigma=1.0)(labels, "CT")[0, 0, :, 0, 0]
    torch.testing.assert_close(profile[6] / profile[5], torch.tensor(-0.5).exp())
