"""Paired tests, Learn2Reg's rank, curves over the levels of a perturbation, and bootstrap intervals."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.stats import bootstrap, wilcoxon

from mmreg_lightning.evaluation.measures import is_number

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]
SIGNIFICANT = 0.05
RANKED = {"dice_l2r": 1, "hd95_l2r": -1, "sdlogj_l2r": -1}
"""Measures of the rank: 1 where more is better, -1 where less is better."""


class PairedTest(NamedTuple):
    """Two-sided Wilcoxon signed-rank test of one measure over the cases that both methods have.

    ``difference`` is the mean of first minus second, ``p`` uncorrected, ``p_holm`` corrected over all tests of a call.
    """

    first: str
    second: str
    cases: int
    difference: float
    p: float
    p_holm: float


class Curve(NamedTuple):
    """A measure of one method under one perturbation.

    ``levels`` (L,) are ascending, ``cases`` are the names of the N cases that have all levels, ``values`` is (N, L).
    """

    levels: Floats
    cases: Sequence[str]
    values: Floats


def by_method(rows: Rows, measure: str) -> dict[str, dict[str, float]]:
    """method -> case -> value, of the rows that have a finite value of the measure."""
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        value: Any = row.get(measure)
        if is_number(value) and math.isfinite(value):
            table.setdefault(row["method"], {})[row["case"]] = float(value)
    return table


def paired_tests(rows: Rows, measure: str) -> list[PairedTest]:
    """Tests of every pair of methods, the smallest p first."""
    table = by_method(rows, measure)
    found = []
    for first, second in itertools.combinations(table, 2):
        differences = [value - table[second][case] for case, value in table[first].items() if case in table[second]]
        if differences:
            mean, p = statistics.fmean(differences), signed_rank(differences)
            found.append(PairedTest(first, second, len(differences), mean, p, p))
    found.sort(key=lambda test: (test.p, test.first, test.second))
    return [test._replace(p_holm=p) for test, p in zip(found, holm([test.p for test in found]), strict=True)]


def signed_rank(differences: Sequence[float] | Floats) -> float:
    """p of the two-sided Wilcoxon signed-rank test; 1 where all differences are 0."""
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction of p-values (Scand. J. Statist. 1979), in the order of ``values``."""
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(np.array(values)[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return [float(p) for p in corrected]


def learn2reg_rank(rows: Rows) -> dict[str, float]:
    """Score in [0.1, 1] of each method, as in the Learn2Reg challenge (Hering et al., IEEE Trans. Med. Imaging 2023).

    It is the geometric mean over ``RANKED`` of 0.1 + 0.9 s. s is the share of the other methods that the method beats
    significantly (Wilcoxon, p < 0.05) in the measure.

    Args:
        rows: of the benchmark; ``before`` does not take part.
    """
    rows = [row for row in rows if row["method"] != "before"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scores: dict[str, list[float]] = {method: [] for method in methods}
    for measure, sign in RANKED.items():
        tests = (test for test in paired_tests(rows, measure) if test.p < SIGNIFICANT)
        wins = Counter(test.first if test.difference * sign > 0 else test.second for test in tests)
        for method in methods:
            scores[method].append(0.1 + 0.9 * wins[method] / max(1, len(methods) - 1))
    return {method: statistics.geometric_mean(values) for method, values in scores.items()}


def curve(rows: Rows, method: str, perturbation: str, measure: str) -> Curve | None:
    """A measure of one method against the levels of one perturbation; None with less than two levels or without cases.

    A level without any result (for example, the field of view is too small for the solver) is left out. A case that
    lacks one of the other levels is left out, too.

    Args:
        rows: of ``run_robustness``.
        method, perturbation, measure: which.
    """
    own = [row for row in rows if (row["method"], row["perturbation"]) == (method, perturbation)]
    columns: dict[float, dict[str, float]] = {}
    for level in sorted({row["level"] for row in own}):
        if found := by_method([row for row in own if row["level"] == level], measure):
            columns[level] = found[method]
    first, *others = columns.values() if columns else [{}]
    cases = [case for case in first if all(case in column for column in others)]
    if not cases or not others:
        return None
    values = np.array([[column[case] for column in columns.values()] for case in cases])
    return Curve(np.array(list(columns), dtype=float), cases, values)


def areas(found: Curve) -> Floats:
    """(N,): area under each case's curve by the trapezoid rule, divided by the range of levels.

    It is the mean of the measure over the range, in the unit of the measure.
    """
    return trapezoid(found.values, found.levels, axis=1) / (found.levels[-1] - found.levels[0])


def bootstrap_band(
    values: NDArray[Any], percent: float, draws: int, seed: int, statistic: Callable[..., Any] = np.mean
) -> tuple[Floats, Floats]:
    """Percentile bootstrap over the first axis (Efron 1979): cases are drawn with replacement.

    Args:
        values: (N, ...), one entry a case.
        percent: of the draws that lie within the band.
        draws: number of draws.
        seed: of the draws.
        statistic: of ``values`` along ``axis``; without such a parameter, of one (N,) array.

    Returns:
        Lower and upper end, (...); for one case both are its value.
    """
    if len(values) < 2:
        return values[0], values[0]
    options = {"n_resamples": draws, "confidence_level": percent / 100, "method": "percentile", "axis": 0}
    band = bootstrap((values,), statistic, rng=np.random.default_rng(seed), **options).confidence_interval
    return band.low, band.high


def compare_areas(first: Curve, second: Curve, percent: float, draws: int, seed: int) -> dict[str, Any] | None:
    """Areas under two methods' curves, paired by case; None without a common case or with less than two common levels.

    Args:
        first, second: of two methods under one perturbation.
        percent, draws, seed: see ``bootstrap_band``.

    Returns:
        ``cases``, ``first_area`` and ``second_area`` (means), ``difference`` (first minus second) with its bootstrap
        interval ``low`` and ``high``, ``p`` of ``signed_rank``.
    """
    cases = [case for case in first.cases if case in second.cases]
    levels = np.intersect1d(first.levels, second.levels)
    if not cases or len(levels) < 2:
        return None
    a, b = (
        areas(Curve(levels, cases, own.values[[own.cases.index(c) for c in cases]][:, np.isin(own.levels, levels)]))
        for own in (first, second)
    )
    low, high = bootstrap_band(a - b, percent, draws, seed)
    values = {"first_area": a.mean(), "second_area": b.mean(), "difference": (a - b).mean(), "low": low, "high": high}
    numbers = {key: float(value) for key, value in values.items()}
    return {"cases": len(cases), **numbers, "p": signed_rank(a - b)}
