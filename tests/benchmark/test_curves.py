"""Areas and bands against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.benchmark.curves import Curve, areas, bootstrap_band, compare_areas, curve


def rows(method, table, kind="shift"):
    return [
        {"method": method, "case": case, "perturbation": kind, "level": level, "dice": value}
        for case, values in table.items()
        for level, value in zip((0, 10, 40), values, strict=True)
    ]


def test_area_of_a_line_is_its_middle_whatever_the_levels():
    found = Curve(np.array([0.0, 10, 40]), ["a"], np.array([[0.8, 0.7, 0.4]]))
    assert areas(found).tolist() == pytest.approx([0.6])


def test_cases_that_lack_a_level_do_not_count():
    table = rows("m", {"a": [0.9, 0.8, 0.7], "b": [0.5, None, 0.1]})
    found = curve(table, "m", "shift", "dice")
    assert found.cases == ["a"] and found.levels.tolist() == [0, 10, 40]
    assert curve(table, "m", "noise", "dice") is None


def test_the_band_of_equal_cases_has_no_width_and_of_others_holds_the_mean():
    low, high = bootstrap_band(np.full((5, 2), 0.3), 95, 200, 0)
    assert low.tolist() == pytest.approx([0.3, 0.3]) and high.tolist() == pytest.approx([0.3, 0.3])
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_band(values, 95, 4000, 0)
    # The central limit: 1.96 standard errors to both sides.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)
    assert low < values.mean() < high


def test_areas_are_compared_case_by_case():
    first = curve(rows("m", {c: [0.8, 0.8, 0.8] for c in "abcdef"}), "m", "shift", "dice")
    second = curve(rows("n", {c: [0.8, 0.7, 0.4] for c in "fedcbax"}), "n", "shift", "dice")
    test = compare_areas(first, second, 95, 100, 0)
    assert test.cases == 6 and test.difference == pytest.approx(0.2)
    assert (test.low, test.high) == pytest.approx((0.2, 0.2)) and test.p == pytest.approx(2 / 2**6)
    assert compare_areas(first, first, 95, 100, 0).p == 1.0


def test_a_level_without_any_result_is_left_out():
    table = {"a": [0.9, 0.8, None], "b": [0.7, 0.6, None]}
    found = curve(rows("m", table), "m", "shift", "dice")
    assert found.levels.tolist() == [0, 10] and found.cases == ["a", "b"]
    whole = curve(rows("n", {"a": [0.5, 0.5, 0.1], "b": [0.5, 0.5, 0.1]}), "n", "shift", "dice")
    test = compare_areas(found, whole, 95, 100, 0)
    assert (test.first_area, test.second_area) == pytest.approx((0.75, 0.5))
