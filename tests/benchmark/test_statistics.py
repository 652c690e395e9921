from __future__ import annotations

import pytest
from scipy.stats import wilcoxon

from mmreg_lightning.benchmark.statistics import by_method, holm, learn2reg_rank, paired_tests

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
