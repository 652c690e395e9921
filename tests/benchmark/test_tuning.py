"""The search over settings: what it tries and what it picks."""

from __future__ import annotations

import pytest

from mmreg_lightning.benchmark.tuning import best_trials, draw_settings, ranked, settings_grid
from mmreg_lightning.errors import UserError


def trial(name, dice, folds=0.0, sdlogj=0.1):
    return {"setting": {"name": name}, "dice": dice, "folds_percent": folds, "sdlogj": sdlogj}


def names(trials):
    return [t["setting"]["name"] for t in trials]


def test_every_combination_once():
    assert settings_grid({"a": [1, 2], "b.c": [3]}) == [{"a": 1, "b.c": 3}, {"a": 2, "b.c": 3}]


def test_a_mapping_sets_several_keys_at_once():
    space = {"features": [{"radius": 1, "dilation": 2}], "solver.a": [3]}
    assert settings_grid(space) == [{"features.radius": 1, "features.dilation": 2, "solver.a": 3}]


def test_settings_are_the_default_and_a_seeded_draw():
    space = {"a": [1, 2, 3], "b": ["x", "y"]}
    drawn = draw_settings(space, 4, seed=1)
    assert drawn[0] == {} and len(drawn) == 4 and len({str(s) for s in drawn}) == 4
    assert drawn == draw_settings(space, 4, seed=1) != draw_settings(space, 4, seed=2)
    assert len(draw_settings(space, 100, seed=1)) == 7
    assert draw_settings({}, 5, seed=1) == [{}]


def test_best_dice_first():
    assert names(ranked([trial("a", 0.5), trial("b", 0.7), trial("c", 0.6)])) == ["b", "c", "a"]


def test_folding_ranks_last():
    assert names(ranked([trial("folded", 0.9, folds=0.2), trial("a", 0.5), trial("b", 0.6)])) == ["b", "a", "folded"]


def test_among_equals_the_smoothest():
    rough, smooth, worse = trial("rough", 0.700, sdlogj=0.5), trial("smooth", 0.696, sdlogj=0.2), trial("worse", 0.69)
    assert names(ranked([rough, smooth, worse])) == ["smooth", "rough", "worse"]


def test_when_all_fold_the_best_of_them():
    assert names(ranked([trial("a", 0.5, folds=3), trial("b", 0.6, folds=5)])) == ["b", "a"]


def test_what_failed_comes_last():
    failed = {"setting": {"name": "failed"}, "error": "it fell over"}
    assert names(ranked([failed, trial("a", 0.5)])) == ["a", "failed"]
    assert ranked([failed]) == [failed]


def test_a_method_whose_trials_all_failed_cannot_be_used():
    good, failed = [trial("a", 0.5), trial("b", 0.4)], [{"setting": {}, "error": "it fell over"}]
    assert best_trials({"m": good}) == {"m": good[0]}
    with pytest.raises(UserError, match="every trial of n failed, the first with: it fell over"):
        best_trials({"m": good, "n": failed})
