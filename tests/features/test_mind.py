"""MIND-SSC as features."""

from __future__ import annotations

import torch

from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.functional.mind import mind_ssc


def test_shape_bounds_and_any_modality():
    features = MindFeatures()
    out = features(torch.rand(1, 1, 16, 16, 16), "anything")
    assert out.shape == (1, features.channels, 8, 8, 8) and features.stride == 2
    assert out.min() >= 0 and out.max() <= 1


def test_each_feature_voxel_is_the_mean_of_its_block():
    image = torch.rand(1, 1, 8, 8, 8)
    out = MindFeatures(radius=1, dilation=3, stride=4)(image, "CT")
    block = mind_ssc(image, radius=1, dilation=3)[0, :, 4:, :4, 4:].mean(dim=(1, 2, 3))
    torch.testing.assert_close(out[0, :, 1, 0, 1], block)
