"""Where the blocks put their voxels."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.features.blocks import ConvBlock
from mmreg_lightning.functional.resize import pool


@pytest.mark.parametrize("stride", [2, 4])
def test_a_strided_block_is_centred_like_average_pooling(stride):
    """The mean over a block's kernel, on a ramp, is the coordinate of its centre."""
    block = ConvBlock(1, 1, "none", stride=stride)[0]
    torch.nn.init.constant_(block.weight, 1 / block.weight.numel())
    torch.nn.init.zeros_(block.bias)
    ramp = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, 1, 32, 16, 16).contiguous()
    out, pooled = block(ramp), pool(ramp, stride)
    assert out.shape == pooled.shape
    inner = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(out[inner], pooled[inner])
