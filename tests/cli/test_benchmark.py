"""mmreg-benchmark's words: help, mistakes in one line, and what a folder is kept for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

QUICK = (
    "~features.learned",
    "~features.intensity",
    "features.mind_ssc.space={}",
    "~solvers.adam",
    "~solvers.convex_adam",
    "solvers.demons.space={}",
    "+solvers.demons.overrides=['solver.iterations=1','solver.levels=[2]']",
    "~peers.convexadam",
    "~peers.ants_syn",
    "~peers.elastix",
    "~peers.greedy",
    "tuning.trials=1",
)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["foo=1"], "foo: there is no such setting"),
        (["experiment=nothing"], "experiment=nothing: there is no such choice, known are "),
        (["seed=${nowhere}"], "nowhere"),
        ([], "checkpoint=null: features.learned needs one"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_code_2(call_benchmark: Callable, arguments: list[str], match: str) -> None:
    code, out, err = call_benchmark(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and match in err and err.count("\n") == 1


def test_without_data_it_says_so(call_benchmark: Callable) -> None:
    code, _, err = call_benchmark("data.root=???")
    assert code == 2 and err.startswith("error: ") and "data.root" in err and err.count("\n") == 1


@pytest.mark.slow
def test_it_prints_the_table_and_keeps_the_folder_for_this_benchmark(call_benchmark: Callable, tmp_path: Path) -> None:
    code, out, err = call_benchmark(*QUICK)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[-1] == f"Results: {tmp_path / 'out' / 'report.html'}, {tmp_path / 'out' / 'results.csv'}"
    header, rule, *rows = (line for line in lines if line.startswith("|"))
    assert header.startswith("| method |") and set(rule) <= set("|-: ")
    assert {row.split("|")[1].strip() for row in rows} == {"before", "mind_ssc+demons"}
    code, _, err = call_benchmark(*QUICK, "tuning.pairs=1")
    assert code == 2 and "holds results with tuning" in err
