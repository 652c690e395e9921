"""Products of gradients and residuals: against whole tensors, and what the backward pass keeps and gives."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mmreg_lightning.functional.gradient import gradient
from mmreg_lightning.functional.products import feature_products
from mmreg_lightning.functional.taylor import FORCES
from mmreg_lightning.functional.warp import warp


@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 6, 7), (2, 9, 3)])
def test_they_are_the_sums_over_channels(forces, shape, dtype, assert_close):
    fixed, moving = torch.rand(2, 2, 3, *shape, dtype=dtype)
    displacement = torch.rand(2, 3, *shape, dtype=dtype) - 0.5
    warped = warp(moving, displacement)
    source = {"fixed": fixed, "moving": warped, "symmetric": (fixed + warped) / 2}[forces]
    factors = torch.cat([gradient(source), (fixed - warped).unsqueeze(2)], dim=2)  # (B, C, 4, I, J, K)
    gram = torch.einsum("bcuijk,bcvijk->buvijk", factors, factors)
    expected = torch.stack([gram[:, a, b] for a in range(4) for b in range(a, 4)], dim=1)
    assert_close(feature_products(fixed, moving, displacement, forces), expected)


@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize("shape", [(3, 4, 3), (2, 3, 2)])
def test_backward(forces, shape):
    fixed, moving = torch.rand(2, 2, 2, *shape, dtype=torch.float64).unbind(0)
    displacement = 0.8 * torch.rand(2, 3, *shape, dtype=torch.float64) - 0.4
    inputs = tuple(x.clone().requires_grad_() for x in (fixed, moving, displacement))
    assert torch.autograd.gradcheck(partial(feature_products, forces=forces), inputs)


@pytest.mark.parametrize("asked", [(True, False, False), (False, True, False), (False, False, True)])
def test_backward_of_one_input(asked):
    fixed, moving = torch.rand(2, 1, 2, 4, 4, 4, dtype=torch.float64).unbind(0)
    displacement = 0.5 * torch.rand(1, 3, 4, 4, 4, dtype=torch.float64)
    inputs = [x.clone().requires_grad_(one) for x, one in zip((fixed, moving, displacement), asked, strict=True)]
    whole = [x.clone().requires_grad_() for x in (fixed, moving, displacement)]
    feature_products(*inputs, "symmetric").square().sum().backward()
    feature_products(*whole, "symmetric").square().sum().backward()
    for one, every, needed in zip(inputs, whole, asked, strict=True):
        assert (one.grad is not None) == needed
        if needed:
            torch.testing.assert_close(one.grad, every.grad)


def test_a_step_keeps_fields_but_no_features_for_the_backward_pass():
    channels, shape = 32, (8, 8, 8)
    fixed, moving = (torch.rand(1, channels, *shape, requires_grad=True) for _ in range(2))
    kept: list[torch.Tensor] = []
    displacement = torch.zeros(1, 3, *shape)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        for _ in range(3):
            products = feature_products(fixed, moving, displacement, "symmetric")
            displacement = displacement + 0.01 * products[:, 3:6]
    own = {fixed.data_ptr(), moving.data_ptr()}
    extra = sum(x.numel() for x in kept if x.data_ptr() not in own)
    assert extra <= 3 * 3 * displacement[0, 0].numel() * 2
