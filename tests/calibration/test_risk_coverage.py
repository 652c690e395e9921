from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.calibration.risk_coverage import risk_coverage, risk_curve


def area_under_risk(confidence, risk):
    return risk_coverage(confidence, risk, [str(i) for i in range(len(risk))], draws=10).area


def test_by_hand():
    risk = np.array([0.0, 1.0, 0.0, 1.0])
    # Perfect: 0, 0, 1/3, 2/4; the other way round: 1, 1, 2/3, 1/2.
    assert area_under_risk(-risk, risk) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert area_under_risk(risk, risk) == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert risk_curve(np.array([4.0, 3, 2, 1]), risk).tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])


def test_a_confidence_that_knows_nothing_has_the_mean_risk():
    risk = np.array([0.1, 0.5, 0.3, 0.9])
    assert risk_curve(np.ones(4), risk).tolist() == pytest.approx([0.45] * 4)
    rng = np.random.default_rng(0)
    drawn = [risk_curve(rng.random(4), risk).mean() for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.45, abs=0.01)


def test_gain_is_one_for_the_oracle_none_for_random_and_less_for_the_worst():
    rng = np.random.default_rng(1)
    risk = rng.random(60)
    groups = [str(i // 3) for i in range(60)]
    best = risk_coverage(-risk, risk, groups, draws=200)
    assert best.gain == best.low == best.high == pytest.approx(1)
    assert (best.cases, best.groups) == (60, 20) and best.area == best.oracle < best.random
    none = risk_coverage(np.zeros(60), risk, groups, draws=200)
    assert none.gain == pytest.approx(0, abs=1e-9)
    many = rng.random(1200)
    noise = risk_coverage(rng.random(1200), many, [str(i) for i in range(1200)], draws=300)
    assert noise.low < 0 < noise.high
    assert risk_coverage(risk, risk, groups, draws=50).gain < -0.5


def test_equal_risks_have_nothing_to_rank():
    assert risk_coverage(np.arange(3.0), np.full(3, 0.2), list("abc"), draws=10).gain == 0


def test_the_band_is_over_groups():
    risk = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    confidence = np.array([2.0, 1, 1, 2, 1, 2])  # right in the groups a and b, wrong in c
    found = risk_coverage(confidence, risk, list("aabbcc"), draws=500, seed=5)
    # A draw of three groups has k of c, the share of (1/3)^k: gain 1 with none, -1 with nothing else.
    assert (found.low, found.high) == pytest.approx((-1, 1))
    assert np.isnan(risk_coverage(confidence[:2], risk[:2], list("aa"), draws=10).low)
