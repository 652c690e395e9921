"""The search over settings: what it tries and what it picks."""

from __future__ import annotations

from mmreg_lightning.benchmark.tuning import Trial, ranked, settings_grid, with_setting


def trial(name, dice, folds=0.0, sdlogj=0.1):
    return Trial({"name": name}, dice, folds, sdlogj, 0.0)


def names(trials):
    return [t.setting["name"] for t in trials]


def test_every_combination_once():
    assert settings_grid({"a": [1, 2], "b.c": [3]}) == [{"a": 1, "b.c": 3}, {"a": 2, "b.c": 3}]


def test_a_setting_leaves_the_configuration_alone():
    solver = {"step": {"alpha": 0.1, "max_step": 1.0}}
    assert with_setting(solver, {"step.alpha": 0.4}) == {"step": {"alpha": 0.4, "max_step": 1.0}}
    assert solver["step"]["alpha"] == 0.1


def test_best_dice_first():
    assert names(ranked([trial("a", 0.5), trial("b", 0.7), trial("c", 0.6)])) == ["b", "c", "a"]


def test_folding_ranks_last():
    assert names(ranked([trial("folded", 0.9, folds=0.2), trial("a", 0.5), trial("b", 0.6)])) == ["b", "a", "folded"]


def test_among_equals_the_smoothest():
    rough, smooth, worse = trial("rough", 0.700, sdlogj=0.5), trial("smooth", 0.696, sdlogj=0.2), trial("worse", 0.69)
    assert names(ranked([rough, smooth, worse])) == ["smooth", "rough", "worse"]


def test_when_all_fold_the_best_of_them():
    assert names(ranked([trial("a", 0.5, folds=3), trial("b", 0.6, folds=5)])) == ["b", "a"]
