"""Composition and inversion of displacements."""

from __future__ import annotations

import torch

from mmreg_lightning.functional.compose import compose, invert
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.functional.warp import identity_grid, warp

INSIDE = (..., slice(3, -3), slice(3, -3), slice(3, -3))


def test_translations_add(dtype, assert_close):
    first = torch.tensor([1.0, -2.0, 0.5], dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, 6, 6, 6)
    second = torch.tensor([0.25, 1.0, -3.0], dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, 6, 6, 6)
    expected = torch.tensor([1.25, -1.0, -2.5], dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, 6, 6, 6)
    assert_close(compose(first, second), expected)


def test_zero_is_neutral(smooth_field, assert_close):
    field = smooth_field()
    zero = torch.zeros_like(field)
    assert_close(compose(field, zero), field)
    assert_close(compose(zero, field), field)


def test_warp_by_composition_equals_two_warps(smooth_field, assert_close):
    first, second = smooth_field(), smooth_field()
    ramp = identity_grid((24, 24, 24), dtype=torch.float64)  # linear: interpolated without error
    assert_close(warp(ramp, compose(first, second))[INSIDE], warp(warp(ramp, second), first)[INSIDE])


def test_inverse_of_translation(dtype, assert_close):
    field = torch.full((1, 3, 6, 6, 6), 1.5, dtype=dtype)
    assert_close(invert(field), -field)


def test_inverse_from_both_sides(smooth_field):
    field = smooth_field(peak=2.0)
    assert jacobian_determinant(field).min() > 0
    inverse = invert(field)
    assert compose(field, inverse)[INSIDE].abs().max() < 0.05
    assert compose(inverse, field)[INSIDE].abs().max() < 0.05
