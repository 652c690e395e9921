"""Paired tests between methods, and the rank that Learn2Reg makes of them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy.stats import wilcoxon

from mmreg_lightning.evaluation.measures import is_number

SIGNIFICANT = 0.05
RANKED = {"dice_l2r": 1, "hd95_l2r": -1, "sdlogj_l2r": -1}
"""Measures of the rank: 1 where more is better, -1 where less is."""


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


def by_method(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, dict[str, float]]:
    """method -> case -> value, of the rows that have the measure."""
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        value: Any = row.get(measure)
        if is_number(value) and math.isfinite(value):
            table.setdefault(row["method"], {})[row["case"]] = float(value)
    return table


def paired_tests(rows: Sequence[Mapping[str, Any]], measure: str) -> list[PairedTest]:
    """Every pair of methods, the most significant first."""
    table = by_method(rows, measure)
    raw = []
    for first, second in itertools.combinations(table, 2):
        cases = [case for case in table[first] if case in table[second]]
        differences = [table[first][case] - table[second][case] for case in cases]
        if not differences:
            continue
        # Without any difference there is nothing to rank.
        p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        raw.append((p, first, second, len(cases), statistics.fmean(differences)))
    raw.sort()
    corrected = holm([p for p, *_ in raw])
    return [PairedTest(a, b, n, d, p, q) for (p, a, b, n, d), q in zip(raw, corrected, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction of sorted p-values (Scand. J. Statist. 1979)."""
    out: list[float] = []
    for index, p in enumerate(values):
        out.append(max(min(1.0, p * (len(values) - index)), out[-1] if out else 0.0))
    return out


def learn2reg_rank(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score in [0.1, 1] of each method: geometric mean over ``RANKED`` of the share of methods it beats.

    In each measure a method scores 0.1, and up to 1 by the share of the other methods that it beats significantly
    (Wilcoxon, p < 0.05), as the Learn2Reg challenge does (Hering et al., IEEE Trans. Med. Imaging 2023).

    Args:
        rows: of the benchmark; ``before`` does not take part.
    """
    rows = [row for row in rows if row["method"] != "before"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scores: dict[str, list[float]] = {method: [] for method in methods}
    for measure, sign in RANKED.items():
        wins = dict.fromkeys(methods, 0)
        for test in paired_tests(rows, measure):
            if test.p < SIGNIFICANT:
                wins[test.first if test.difference * sign > 0 else test.second] += 1
        for method in methods:
            scores[method].append(0.1 + 0.9 * wins[method] / max(1, len(methods) - 1))
    return {method: statistics.geometric_mean(values) for method, values in scores.items()}
