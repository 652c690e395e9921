"""Checks of single values."""

from __future__ import annotations

import pytest

from mmreg_lightning.errors import UserError, non_negative, non_negative_int, positive_int


def test_a_user_error_is_a_value_error() -> None:
    assert issubclass(UserError, ValueError)


def test_usable_values_are_returned() -> None:
    assert non_negative("sigma", 0) == 0.0 and isinstance(non_negative("sigma", 2), float)
    assert positive_int("steps", 3) == 3
    assert non_negative_int("workers", 0) == 0


@pytest.mark.parametrize("value", [-0.1, float("nan"), True, None, "1"])
def test_what_is_no_number_from_0(value: object) -> None:
    with pytest.raises(UserError, match=f"sigma={value}: must be a number, 0 or more"):
        non_negative("sigma", value)


@pytest.mark.parametrize("value", [0, -2, 1.0, True, None, "1"])
def test_what_is_no_count(value: object) -> None:
    with pytest.raises(UserError, match=f"steps={value}: must be a whole number, 1 or more"):
        positive_int("steps", value)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1"])
def test_what_is_no_count_from_0(value: object) -> None:
    with pytest.raises(UserError, match=f"workers={value}: must be a whole number, 0 or more"):
        non_negative_int("workers", value)
