"""Curves of a measure against the level of a perturbation, the area under them, and their bootstrap bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.stats import wilcoxon

from mmreg_lightning.evaluation.measures import is_number

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """One method under one perturbation.

    ``levels`` (L,) ascending; ``cases`` their names; ``values`` (cases, L): only cases that have all levels.
    """

    levels: Floats
    cases: Sequence[str]
    values: Floats


class AreaTest(NamedTuple):
    """Areas of two methods under one perturbation, over the cases that both have.

    ``first_area`` and ``second_area`` are means; ``difference`` is first minus second with its band ``low``, ``high``;
    ``p`` is that of the two-sided Wilcoxon signed-rank test, 1 where nothing differs.
    """

    cases: int
    first_area: float
    second_area: float
    difference: float
    low: float
    high: float
    p: float


def curve(rows: Sequence[Mapping[str, Any]], method: str, perturbation: str, measure: str) -> Curve | None:
    """A measure of one method against the levels of one perturbation; None where there is none.

    A level at which no case has a result (a field of view too small for the solver, say) is left out; so are cases that
    lack one of the others.

    Args:
        rows: of ``run_robustness``.
        method, perturbation, measure: which.
    """
    table: dict[str, dict[float, float]] = {}
    levels: set[float] = set()
    for row in rows:
        if row["method"] == method and row["perturbation"] == perturbation:
            value: Any = row.get(measure)
            if is_number(value) and math.isfinite(value):
                levels.add(row["level"])
                table.setdefault(row["case"], {})[row["level"]] = float(value)
    order = sorted(levels)
    whole = [case for case, values in table.items() if len(values) == len(order)]
    if not whole or len(order) < 2:
        return None
    values = np.array([[table[case][level] for level in order] for case in whole])
    return Curve(np.array(order, dtype=float), whole, values)


def areas(found: Curve) -> Floats:
    """(cases,): area under each case's curve by the trapezoid rule, divided by the range of levels.

    It is the mean of the measure over the range, in the measure's own unit.
    """
    return trapezoid(found.values, found.levels, axis=1) / (found.levels[-1] - found.levels[0])


def bootstrap_band(values: Floats, percent: float, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Percentile bootstrap of the mean over the first axis (Efron 1979): cases are drawn with replacement.

    Args:
        values: (cases, ...).
        percent: of the draws that lie within the band.
        draws: how many.
        seed: of the draw.

    Returns:
        Lower and upper end, (...).
    """
    chosen = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    means = values[chosen].mean(axis=1)
    tail = (100 - percent) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def compare_areas(first: Curve, second: Curve, percent: float, draws: int, seed: int) -> AreaTest | None:
    """Areas under two methods' curves over the levels of both, paired by case; None where they share too little.

    Args:
        first, second: of two methods under one perturbation.
        percent, draws, seed: see ``bootstrap_band``.
    """
    both = [case for case in first.cases if case in second.cases]
    levels = np.intersect1d(first.levels, second.levels)
    if not both or len(levels) < 2:
        return None

    def shared(found: Curve) -> Curve:
        rows = [list(found.cases).index(case) for case in both]
        return Curve(levels, both, found.values[rows][:, np.isin(found.levels, levels)])

    a, b = areas(shared(first)), areas(shared(second))
    difference = a - b
    low, high = bootstrap_band(difference, percent, draws, seed)
    p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return AreaTest(len(both), float(a.mean()), float(b.mean()), float(difference.mean()), float(low), float(high), p)
