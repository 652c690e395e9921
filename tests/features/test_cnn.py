"""What is the dilated network's own; what all networks must do is in test_learned."""

from __future__ import annotations

import torch

from mmreg_lightning.features.cnn import CNNFeatures


def test_dilations_are_1_2_4_again_and_again():
    features = CNNFeatures(["MR"], channels=3, width=4, depth=5)
    convolutions = [block[0] for block in features.layers[:-1]]
    assert [c.dilation[0] for c in convolutions] == [1, 2, 4, 1, 2]
    assert features.layers[-1].out_channels == 3


def test_a_voxel_sees_as_far_as_its_dilations_reach():
    body = CNNFeatures(["MR"], channels=1, width=2, depth=2, norm="none").double()
    x = torch.rand(1, 2, 13, 13, 13, dtype=torch.float64, requires_grad=True)
    body.body(x)[0, 0, 6, 6, 6].backward()
    reached = x.grad.abs().sum((0, 1)).nonzero()
    assert reached.amin(0).tolist() == [3, 3, 3] and reached.amax(0).tolist() == [9, 9, 9]  # 1 + 2 voxels
