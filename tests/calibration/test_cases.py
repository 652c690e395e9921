"""What is registered for a calibration."""

from __future__ import annotations

from pathlib import Path

from mmreg_lightning.calibration.cases import draw_changes
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation

KINDS = [Perturbation("shift", [0, 40, 80], "mm", "shift"), Perturbation("noise", [0, 0.2], "SD", "noise")]


def pair(fixed, moving):
    return Pair(*(ImageFiles(Path(f"{name}.nii.gz"), subject=name) for name in (fixed, moving)))


def test_every_pair_is_taken_as_it_is_and_with_every_kind_in_turn():
    pairs = [pair("1", "2"), pair("2", "1")]
    cases = list(draw_changes(pairs, KINDS, 3, seed=1))
    assert [case.kind for case in cases] == ["none", "shift", "noise", "shift", "none", "noise", "shift", "noise"]
    assert [case.files for case in cases] == [pairs[0]] * 4 + [pairs[1]] * 4
    assert all(case.level in (case.perturbation.levels[1:] if case.perturbation else (0,)) for case in cases)
    again = list(draw_changes(pairs, KINDS, 3, seed=1))
    assert [(c.kind, c.level) for c in again] == [(c.kind, c.level) for c in cases]


def test_a_pair_has_its_own_draws():
    both = list(draw_changes([pair("1", "2"), pair("2", "1")], KINDS[:1], 40, seed=1))
    alone = list(draw_changes([pair("2", "1")], KINDS[:1], 40, seed=1))
    assert [case.level for case in both[41:]] == [case.level for case in alone]
    assert {case.level for case in alone[1:]} == {40, 80}
    assert [case.kind for case in draw_changes([pair("1", "2")], [], 3, seed=1)] == ["none"]
