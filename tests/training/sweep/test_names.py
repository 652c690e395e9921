"""What the folders of a sweep's runs are called."""

from __future__ import annotations

import itertools
import re

from mmreg_lightning.training.sweep.names import LONGEST, run_name


def test_a_name_tells_what_was_set():
    assert re.fullmatch(r"regulariser=none,seed=2-[0-9a-f]{6}", run_name(["seed=2", "regulariser=none"]))
    assert run_name(["data.root=/data/ph2"]).startswith("data.root=ph2-")
    assert run_name(["experiment=A", "data.root=x/ph", "seed=1"]).startswith("seed=1,experiment=A,data.root=ph-")
    assert re.fullmatch("[0-9a-f]{6}", run_name([]))


def test_every_override_makes_another_name_in_whatever_order():
    names = [
        run_name(overrides)
        for overrides in (
            ["experiment=A"],
            ["experiment=B"],
            ["data.root=a/ph"],
            ["data.root=b/ph"],
            ["objective=val/cosine"],
            ["objective=val_cosine"],
            ["data.organs=[liver,spleen]"],
            ["data.organs=[liver]", "seed=1"],
            ["+a=1"],
            ["a=1"],
            [],
        )
    ]
    assert len(set(names)) == len(names)
    two = ["seed=1", "optimizer.lr=0.1"]
    assert run_name(two) == run_name(two[::-1]) == run_name([*two, "sweep.fail_fast=true", "sweep=optuna"])


def test_names_are_short_single_folders_however_many_overrides():
    keys = ["objective", "optimizer.lr", "descent.step.regulariser.sigma_field", "seed", "data.root", "experiment"]
    values = ["val/cosine", "0.1", "[a/b, 'c d']", "{x: 1}", "/", "..", "ü" * 40]
    settings = [f"{key}={value}" for key, value in itertools.product(keys, values)]
    for overrides in (*([each] for each in settings), settings[:15], settings):
        name = run_name(overrides)
        assert len(name) <= LONGEST and re.fullmatch(r"[A-Za-z0-9_=,.+-]+", name) and name not in (".", "..")
    many = run_name([*(f"group{n}.some_long_setting=1" for n in range(15)), "seed=7"])
    assert "seed=7" in many and len(many) <= LONGEST
