"""Tests, ranks, areas and bands against closed forms and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from mmreg_lightning.benchmark.statistics import (
    Curve,
    areas,
    bootstrap_band,
    by_method,
    compare_areas,
    curve,
    holm,
    learn2reg_rank,
    paired_tests,
    signed_rank,
)

A = [0.61, 0.72, 0.55, 0.66, 0.70, 0.58, 0.63, 0.69, 0.71, 0.60]
B = [0.52, 0.70, 0.50, 0.60, 0.61, 0.57, 0.55, 0.60, 0.66, 0.54]


def rows(**methods):
    return [
        {"method": name, "case": str(case), "dice": value, "dice_l2r": value, "hd95_l2r": 1 - value, "sdlogj_l2r": 0.1}
        for name, values in methods.items()
        for case, value in enumerate(values)
    ]


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.5, 0.03, 0.01, 0.02]) == pytest.approx([0.5, 0.06, 0.04, 0.06]), "in the order of the values"
    assert holm([]) == []


def test_differences_of_0_are_no_evidence():
    assert signed_rank([0.0, 0.0]) == 1.0
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 2**5)


def test_tests_are_paired_by_case_and_corrected():
    table = rows(a=A, b=B, c=list(reversed(A)))
    found = {(t.first, t.second): t for t in paired_tests(table, "dice")}
    ab = found["a", "b"]
    assert ab.p == pytest.approx(wilcoxon(A, B).pvalue) and ab.p < 0.01
    assert ab.p_holm == pytest.approx(3 * ab.p)
    assert ab.difference == pytest.approx(sum(A) / 10 - sum(B) / 10)
    # The order of the rows does not matter, the case does.
    assert paired_tests(list(reversed(table)), "dice")[0].p == pytest.approx(ab.p)


def test_only_cases_that_both_have_count():
    table = rows(a=A, b=B)
    table[3]["dice"] = None
    table[-1]["dice"] = float("nan")
    assert paired_tests(table, "dice")[0].cases == 8
    assert len(by_method(table, "dice")["a"]) == 9


def test_equal_methods_do_not_differ():
    assert paired_tests(rows(a=A, b=A), "dice")[0].p == 1.0


def test_rank_of_learn2reg():
    rank = learn2reg_rank(rows(a=A, b=B, before=[0.1] * 10))
    # a beats b in Dice and HD95, nobody wins SDlogJ: (1 * 1 * 0.1)^(1/3) and 0.1.
    assert rank == {"a": pytest.approx(0.1 ** (1 / 3)), "b": pytest.approx(0.1)}


def level_rows(method, table, kind="shift"):
    return [
        {"method": method, "case": case, "perturbation": kind, "level": level, "dice": value}
        for case, values in table.items()
        for level, value in zip((0, 10, 40), values, strict=True)
    ]


def test_area_of_a_line_is_its_middle_whatever_the_levels():
    found = Curve(np.array([0.0, 10, 40]), ["a"], np.array([[0.8, 0.7, 0.4]]))
    assert areas(found).tolist() == pytest.approx([0.6])


def test_cases_that_lack_a_level_do_not_count():
    table = level_rows("m", {"a": [0.9, 0.8, 0.7], "b": [0.5, None, 0.1]})
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
    first = curve(level_rows("m", {c: [0.8, 0.8, 0.8] for c in "abcdef"}), "m", "shift", "dice")
    second = curve(level_rows("n", {c: [0.8, 0.7, 0.4] for c in "fedcbax"}), "n", "shift", "dice")
    test = compare_areas(first, second, 95, 100, 0)
    assert test["cases"] == 6 and test["difference"] == pytest.approx(0.2)
    assert (test["low"], test["high"]) == pytest.approx((0.2, 0.2)) and test["p"] == pytest.approx(2 / 2**6)
    assert compare_areas(first, first, 95, 100, 0)["p"] == 1.0


def test_a_level_without_any_result_is_left_out():
    table = {"a": [0.9, 0.8, None], "b": [0.7, 0.6, None]}
    found = curve(level_rows("m", table), "m", "shift", "dice")
    assert found.levels.tolist() == [0, 10] and found.cases == ["a", "b"]
    whole = curve(level_rows("n", {"a": [0.5, 0.5, 0.1], "b": [0.5, 0.5, 0.1]}), "n", "shift", "dice")
    test = compare_areas(found, whole, 95, 100, 0)
    assert (test["first_area"], test["second_area"]) == pytest.approx((0.75, 0.5))


def test_a_band_is_that_of_seeded_draws():
    values = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    means = values[np.random.default_rng(7).integers(0, 3, (50, 3))].mean(axis=1)
    expected = np.percentile(means, [5, 95], axis=0)
    assert np.allclose(bootstrap_band(values, 90, 50, 7), expected, rtol=0, atol=1e-12)
    low, high = bootstrap_band(values[:1], 90, 50, 7)
    assert low.tolist() == high.tolist() == [0.0, 1.0]


def test_a_band_of_a_statistic_of_what_is_drawn():
    def largest(drawn):
        return float(drawn.max())

    low, high = bootstrap_band(np.arange(4), 95, 400, 0, largest)
    # 3 is among four draws of four with probability 1 - (3/4)^4 = 0.68, nothing above 0 with (1/4)^4 = 0.004.
    assert (low, high) == (1.0, 3.0)
