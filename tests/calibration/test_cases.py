"""What is registered for a calibration, and the error that is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmreg_lightning.calibration.cases import draw_changes, surface_errors
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.geometry.grid import Grid

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
    assert [case.change for case in again] == [case.change for case in cases]


def test_a_pair_has_its_own_draws():
    both = list(draw_changes([pair("1", "2"), pair("2", "1")], KINDS[:1], 40, seed=1))
    alone = list(draw_changes([pair("2", "1")], KINDS[:1], 40, seed=1))
    assert [case.level for case in both[41:]] == [case.level for case in alone]
    assert {case.level for case in alone[1:]} == {40, 80}
    assert [case.kind for case in draw_changes([pair("1", "2")], [], 3, seed=1)] == ["none"]


def test_surfaces_a_known_distance_apart():
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    fixed, warped = labels.clone(), labels.clone()
    # Slabs through the whole image: their ends at its border are no surfaces.
    fixed[0, 5:10], warped[0, 8:13] = 1, 1
    grid = Grid((20, 20, 20), np.diag([2.0, 1, 1, 1]))
    places, errors = surface_errors(fixed, warped, grid)
    # Surfaces lie at 5, 9 and at 8, 12: 6 mm, 2 mm, 2 mm, 6 mm.
    assert sorted(set(errors.tolist())) == [2.0, 6.0] and len(places) == len(errors) == 4 * 400
    assert set(places[:, 0].tolist()) == {5, 9, 8, 12}
    fixed[0, 15:17] = 2  # an organ of one image only says nothing
    assert len(surface_errors(fixed, warped, grid)[0]) == 4 * 400
    assert len(surface_errors(labels, warped, grid)[0]) == 0
