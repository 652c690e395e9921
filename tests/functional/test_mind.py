"""MIND-SSC: closed forms on polynomials, invariance, and the authors' implementation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.mind import mind_ssc
from mmreg_lightning.functional.warp import identity_grid

# Which channels compare a patch ahead of and a patch behind the voxel along each axis with one along another
# axis.
AHEAD = {0: [0, 3, 7, 10], 1: [1, 3, 5, 8], 2: [5, 7, 9, 11]}
BEHIND = {0: [1, 2, 6, 11], 1: [0, 2, 4, 9], 2: [4, 6, 8, 10]}


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_shape_and_range():
    features = mind_ssc(torch.randn(2, 1, 9, 10, 11))
    assert features.shape == (2, 12, 9, 10, 11)
    assert features.amax(dim=1).unique().tolist() == [1]
    assert features.min() > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ramp(axis, dtype, assert_close):
    # Patches 2 voxels along the ramp and 0 along it differ by 2: D = 4 in 8 channels and 0 in the 4 others,
    # whose mean is 8/3, so that the features are exp(-3/2) and 1.
    features = mind_ssc(identity_grid((15, 15, 15), dtype=dtype)[:, axis : axis + 1])[0, :, 7, 7, 7]
    expected = torch.ones(12, dtype=dtype)
    expected[AHEAD[axis] + BEHIND[axis]] = math.exp(-1.5)
    assert_close(features, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_order_of_channels(axis, dtype, assert_close):
    # x^2 at x = 3, single voxels at distance 2: (25 - 9)^2 = 256 ahead, (1 - 9)^2 = 64 behind, and 0
    # otherwise, whose mean is 320/3, so that the features are exp(-2.4), exp(-0.6) and 1.
    parabola = identity_grid((8, 8, 8), dtype=dtype)[:, axis : axis + 1] ** 2
    features = mind_ssc(parabola, radius=0, dilation=2)[0, :, 3, 3, 3]
    expected = torch.ones(12, dtype=dtype)
    expected[AHEAD[axis]] = math.exp(-2.4)
    expected[BEHIND[axis]] = math.exp(-0.6)
    assert_close(features, expected)


def test_scale_and_offset_make_no_difference(dtype, assert_close):
    image = torch.randn(1, 1, 10, 10, 10, dtype=dtype)
    assert_close(mind_ssc(3 * image - 2), mind_ssc(image))


def test_inverted_contrast_makes_no_difference():
    image = torch.randn(1, 1, 10, 10, 10)
    assert torch.equal(mind_ssc(-image), mind_ssc(image))


def test_constant_image_gives_ones():
    assert torch.equal(mind_ssc(torch.full((1, 1, 6, 6, 6), 7.0)), torch.ones(1, 12, 6, 6, 6))


def test_samples_do_not_influence_each_other():
    images = torch.randn(2, 1, 8, 8, 8) * torch.tensor([1.0, 1e4]).view(2, 1, 1, 1, 1)
    assert torch.equal(mind_ssc(images)[:1], mind_ssc(images[:1]))


@pytest.mark.parametrize(("radius", "dilation"), [(2, 2), (1, 2), (3, 1)])
def test_equals_convexadam(radius, dilation, double_by_default):
    reference = pytest.importorskip("convexAdam.convex_adam_utils", reason="needs convexAdam (extra: dev)")
    image = 100 * torch.randn(1, 1, 12, 15, 14) + 30
    # In double precision: that implementation loses 1e-5 to rounding in single precision.
    expected = reference.MINDSSC(image, radius, dilation, device="cpu")
    torch.testing.assert_close(mind_ssc(image, radius, dilation), expected, rtol=0, atol=1e-10)
    single = mind_ssc(image.float(), radius, dilation)
    torch.testing.assert_close(single, expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 6, 6, 6), (1, 6, 6, 6)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="shape"):
        mind_ssc(torch.zeros(shape))


@pytest.mark.parametrize(("radius", "dilation"), [(-1, 2), (2, 0)])
def test_bad_numbers(radius, dilation):
    with pytest.raises(UserError, match=f"radius={radius} and dilation={dilation}"):
        mind_ssc(torch.zeros(1, 1, 6, 6, 6), radius, dilation)
