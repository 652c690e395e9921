"""Risk against coverage: what remains wrong when the least trusted cases are put aside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class RiskCoverage(NamedTuple):
    """Areas under risk-coverage curves, in the unit of the risk.

    Attributes:
        area: of the confidence that was tested.
        random: of a confidence that knows nothing, in expectation: the mean risk.
        oracle: of the best ranking there is, by the risk itself.
        gain: share of the way from random to oracle, 1 - (area - oracle) / (random - oracle); 0 where they are equal.
        low, high: bootstrap band of the gain.
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
        """The gain and its interval, where there is one."""
        interval = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.gain:.2f}{interval}"


def risk_curve(confidence: Floats, risk: Floats) -> Floats:
    """Mean risk of the n most trusted cases, n = 1 ... N (El-Yaniv and Wiener, JMLR 2010).

    Cases of one confidence count as in a random order, in expectation.

    Args:
        confidence, risk: (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    _, group = np.unique(-confidence[order], return_inverse=True)
    ordered = risk[order].astype(float)
    means = np.bincount(group, ordered) / np.bincount(group)
    return np.cumsum(means[group]) / np.arange(1, len(risk) + 1)


def area_under_risk(confidence: Floats, risk: Floats) -> float:
    """Area under the risk-coverage curve: the mean of ``risk_curve`` over all coverages."""
    return float(risk_curve(confidence, risk).mean())


def risk_coverage(
    confidence: Floats, risk: Floats, groups: Sequence[str], percent: float = 95, draws: int = 2000, seed: int = 0
) -> RiskCoverage:
    """Areas, and how far the confidence is from random to oracle with a bootstrap over groups.

    Args:
        confidence, risk: (N,).
        groups: (N,), what is drawn as a whole: perturbed versions of one pair are no independent cases.
        percent: of the band.
        draws, seed: of the bootstrap.
    """
    names = list(dict.fromkeys(groups))
    members = [np.flatnonzero(np.array(groups) == name) for name in names]
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(draws):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        gains.append(_gain(confidence[chosen], risk[chosen]))
    tail = (100 - percent) / 2
    # Of one group every draw is the same: that is no interval.
    low, high = np.percentile(gains, [tail, 100 - tail]).tolist() if len(names) > 1 else (math.nan, math.nan)
    area, oracle = area_under_risk(confidence, risk), area_under_risk(-risk, risk)
    gain = _gain(confidence, risk)
    return RiskCoverage(area, float(risk.mean()), oracle, gain, low, high, len(risk), len(names))


def _gain(confidence: Floats, risk: Floats) -> float:
    area, oracle, random = area_under_risk(confidence, risk), area_under_risk(-risk, risk), float(risk.mean())
    return 1 - (area - oracle) / (random - oracle) if random > oracle else 0.0
