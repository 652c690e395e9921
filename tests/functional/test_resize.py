"""Changing the resolution of features and displacements over one field of view."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.functional.resize import (
    carried_displacement,
    level_factors,
    pad_to_multiple,
    pool,
    pyramid,
    resize,
    resize_displacement,
)
from mmreg_lightning.functional.warp import identity_grid


def test_same_shape_changes_nothing(smooth_field):
    field = smooth_field(8)
    assert torch.equal(resize_displacement(field, (8, 8, 8)), field)


def test_values_scale_with_the_grid(dtype, assert_close):
    resized = resize_displacement(torch.ones(1, 3, 8, 8, 8, dtype=dtype), (16, 4, 8))
    expected = torch.tensor([2, 0.5, 1], dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, 16, 4, 8)
    assert_close(resized, expected)


def test_round_trip(smooth_field):
    field = smooth_field(24, peak=2.0)
    inside = (..., slice(2, -2), slice(2, -2), slice(2, -2))
    # There and back is the filter (1, 6, 1) / 8 along each axis: 1 + second derivative / 8. The Laplacian of
    # a wave of 24 voxels and amplitude 2 is at most 2 (2 pi / 24)^2 < 0.14.
    back = resize_displacement(resize_displacement(field, (48, 48, 48)), (24, 24, 24))
    assert (back - field)[inside].abs().max() < 0.14 / 8
    ramp = 0.1 * identity_grid((24, 24, 24), dtype=torch.float64)
    back = resize_displacement(resize_displacement(ramp, (48, 48, 48)), (24, 24, 24))
    torch.testing.assert_close(back[inside], ramp[inside])


def test_outer_edges_coincide(assert_close):
    ramp = identity_grid((6, 6, 6), dtype=torch.float64)
    fine = resize(ramp, (12, 12, 12))
    # Fine voxel i lies at (i + 1/2) / 2 - 1/2 of the coarse grid.
    expected = (identity_grid((12, 12, 12), dtype=torch.float64) + 0.5) / 2 - 0.5
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert_close(fine[inside], expected[inside])


def test_pool_averages_blocks(dtype, assert_close):
    fine = identity_grid((8, 8, 8), dtype=dtype)
    # Coarse voxel i is centred at 4 i + 3/2 of the fine grid.
    assert_close(pool(fine, 4), 4 * identity_grid((2, 2, 2), dtype=dtype) + 1.5)


def test_pool_by_one_is_the_input():
    x = torch.rand(1, 2, 3, 3, 3)
    assert pool(x, 1) is x


def test_pool_repeats_the_border_of_odd_sides():
    x = torch.tensor([1.0, 3.0, 7.0]).view(1, 1, 3, 1, 1).expand(1, 1, 3, 2, 2)
    assert pool(x, 2).flatten().tolist() == [2.0, 7.0]


def test_gradient():
    field = torch.rand(1, 3, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: resize_displacement(u, (4, 5, 2)), (field,))
    assert torch.autograd.gradcheck(lambda u: pool(u, 2), (field,))


@pytest.mark.parametrize("shape", [(5, 7, 9), (12, 3, 4)])
def test_shape(shape):
    assert resize_displacement(torch.zeros(2, 3, 6, 6, 6), shape).shape == (2, 3, *shape)


def test_levels_of_a_pyramid_cover_one_field_of_view():
    x = torch.randn(1, 2, 17, 20, 18)
    levels = [(a, b) for a, b in pyramid((x, x[:, :1]), (4, 2, 1))]
    assert [tuple(a.shape[2:]) for a, _ in levels] == [(5, 5, 5), (10, 10, 10), (20, 20, 20)]
    assert [b.shape[1] for _, b in levels] == [1, 1, 1]
    assert torch.equal(levels[2][0][..., :17, :20, :18], x)
    assert torch.equal(levels[0][0], pool(levels[2][0], 4))


def test_a_level_starts_where_the_one_before_it_ended():
    onto = torch.zeros(2, 5, 8, 8, 8)
    assert torch.equal(carried_displacement(None, onto), torch.zeros(2, 3, 8, 8, 8))
    assert torch.equal(carried_displacement(torch.ones(2, 3, 4, 4, 2), onto)[0, :, 0, 0, 0], torch.tensor([2.0, 2, 4]))


def test_a_factor_for_each_axis():
    x = torch.rand(1, 2, 7, 6, 5)
    assert torch.equal(pool(x, (2, 2, 2)), pool(x, 2)) and torch.equal(pool(x, (4, 4, 4)), pool(x, 4))
    assert torch.equal(pad_to_multiple(x, (4, 4, 4)), pad_to_multiple(x, 4))
    assert pool(x, (1, 1, 1)) is x
    assert pad_to_multiple(x, (4, 1, 3)).shape[2:] == (8, 6, 6)
    # The mean of neighbours along K alone, the last voxel of five being repeated.
    expected = torch.stack([x[..., 0:2].mean(-1), x[..., 2:4].mean(-1), x[..., 4]], dim=-1)
    torch.testing.assert_close(pool(x, (1, 1, 2)), expected)


@pytest.mark.parametrize(
    ("shape", "levels", "expected"),
    [
        ((16, 17, 64), (4, 2, 1), [(4, 4, 4), (2, 2, 2), (1, 1, 1)]),
        ((32, 15, 7), (4, 2, 1), [(4, 2, 1), (2, 2, 1), (1, 1, 1)]),
        ((32, 8, 2), (4, 2), [(4, 2, 1), (2, 2, 1)]),
        ((24, 23, 11), (6,), [(6, 3, 2)]),
    ],
    ids=str,
)
def test_a_short_axis_stops_being_halved(shape, levels, expected):
    assert level_factors(shape, levels) == expected


def test_a_pyramid_of_a_thin_image():
    x = torch.rand(1, 1, 32, 16, 6)
    levels = [a for (a,) in pyramid((x,), (4, 2, 1))]
    assert [tuple(a.shape[2:]) for a in levels] == [(8, 4, 6), (16, 8, 6), (32, 16, 6)]
    torch.testing.assert_close(levels[0], x.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)))
    assert torch.equal(levels[2], x)
