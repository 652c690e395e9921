"""Risk against coverage: the mean risk of the cases that remain when the least trusted ones are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.benchmark.statistics import bootstrap_band

Floats = NDArray[np.float64]


class RiskCoverage(NamedTuple):
    """Areas under risk-coverage curves, in the unit of the risk.

    Attributes:
        area: of the confidence that was tested.
        random: of a random ranking, in expectation: the mean risk.
        oracle: of the ranking by the risk itself, which is the best one.
        gain: 1 - (area - oracle) / (random - oracle): 1 for the oracle, 0 for random; 0 where both are equal.
        low, high: bootstrap band of the gain; NaN with one group.
        cases, groups: how many.
    """

    area: float
    random: float
    oracle: float
    gain: float
    low: float
    high: float
    cases: int
    groups: int

    def gain_text(self) -> str:
        """The gain and its band, where there is one."""
        band = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.gain:.2f}{band}"


def risk_curve(confidence: Floats, risk: Floats) -> Floats:
    """(N,) mean risk of the n most trusted cases, n = 1 ... N (El-Yaniv and Wiener, JMLR 2010).

    Cases of equal confidence count as in a random order, in expectation.

    Args:
        confidence, risk: (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    _, group = np.unique(-confidence[order], return_inverse=True)
    means = np.bincount(group, risk[order].astype(float)) / np.bincount(group)
    return np.cumsum(means[group]) / np.arange(1, len(risk) + 1)


def risk_coverage(
    confidence: Floats, risk: Floats, groups: Sequence[str], percent: float = 95, draws: int = 2000, seed: int = 0
) -> RiskCoverage:
    """Areas under the risk-coverage curves, and the gain with a bootstrap band over groups.

    Args:
        confidence, risk: (N,).
        groups: (N,), what is drawn as a whole: perturbed versions of one pair are not independent.
        percent, draws, seed: see ``bootstrap_band``.
    """
    names = list(dict.fromkeys(groups))
    members = [np.flatnonzero(np.array(groups) == name) for name in names]

    def gain(drawn: NDArray[np.int64]) -> float:
        chosen = np.concatenate([members[i] for i in drawn])
        area, random, oracle = _areas(confidence[chosen], risk[chosen])
        return 1 - (area - oracle) / (random - oracle) if random > oracle else 0.0

    everything = np.arange(len(names))
    band = (math.nan, math.nan)
    if len(names) > 1:
        low, high = bootstrap_band(everything, percent, draws, seed, gain)
        band = float(low), float(high)
    return RiskCoverage(*_areas(confidence, risk), gain(everything), *band, len(risk), len(names))


def _areas(confidence: Floats, risk: Floats) -> tuple[float, float, float]:
    """Of the confidence, of a random ranking and of the oracle: the mean of ``risk_curve`` over all coverages."""
    return float(risk_curve(confidence, risk).mean()), float(risk.mean()), float(risk_curve(-risk, risk).mean())
