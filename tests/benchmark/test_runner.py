"""What a benchmark does about failures and interruptions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmreg_lightning.benchmark.methods import Outcome
from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import Case, Plan
from mmreg_lightning.benchmark.report import write_results
from mmreg_lightning.benchmark.runner import Cell, run_cells, run_plan
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score


class Fake:
    """Moves nothing, or fails where it is told to."""

    def __init__(self, name, failing=(), space=None):
        self.name, self.failing, self.space = name, failing, space or {}
        self.calls = []

    def __call__(self, files, pair, setting, memo=None):
        self.calls.append((files.name, dict(setting)))
        if files.name in self.failing or setting.get("broken"):
            raise PeerError("it fell over")
        return Outcome(torch.zeros(1, 3, *pair.fixed.volume.grid.shape), {"total": 1.0}, None)


@pytest.fixture
def plan(pairs_phantom):
    dataset = Learn2RegDataset.read(pairs_phantom)

    def judge(pair, found):
        row = score(pair, found.displacement, dataset.label_names).row()
        return {key: row[key] for key in ("dice", "folds_percent", "sdlogj")}

    def make(*methods, trials=1):
        cases = [Case(files) for files in dataset.select("test", None, "report")]
        return Plan(dataset, methods, dataset.select("val", 1, "tuning"), cases, trials, 1, judge)

    return make


def quiet(what, done, total):
    assert 0 <= done <= total


def test_failures_are_named_not_dropped(plan, tmp_path):
    two = [case.files.name for case in plan().cases]
    methods = Fake("good"), Fake("weak", failing=two[:1], space={"broken": [True]})
    rows, trials = run_plan(plan(*methods, trials=2), tmp_path, quiet)
    assert [("error" in t) for t in trials["weak"]] == [False, True]
    failed = [row for row in rows if "error" in row]
    assert [(row["method"], row["case"], row["error"]) for row in failed] == [("weak", two[0], "it fell over")]
    facts = {"title": "t", "what": "w", "command": "c"}
    summary, _ = write_results(tmp_path, rows, trials, facts)
    assert summary["methods"]["weak"]["failed_cases"] == two[:1]
    assert summary["methods"]["weak"]["measures"]["dice"]["cases"] == 1
    assert f"Without a result, not in the means: weak: {two[0]}" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_method_that_always_fails_is_named_and_the_others_go_on(plan, tmp_path):
    everything = [pair.name for pair in plan().tuning]
    rows, trials = run_plan(plan(Fake("weak", failing=everything), Fake("good")), tmp_path, quiet)
    assert "error" in trials["weak"][0] and "error" not in trials["good"][0]
    assert {row["error"] for row in rows if row["method"] == "weak"} == {"it fell over"}
    summary, _ = write_results(tmp_path, rows, trials, {"title": "t", "what": "w", "command": "c"})
    assert summary["methods"]["good"]["measures"]["dice"]["cases"] == len(plan().cases)
    assert set(summary["methods"]["weak"]["failed_cases"]) == {case.files.name for case in plan().cases}
    assert "| weak | 1 | 1 | the default | – |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="every trial of every method failed, the first of weak with: it fell over"):
        run_plan(plan(Fake("weak", failing=everything)), tmp_path / "alone", quiet)


def test_a_killed_benchmark_goes_on_where_it_stopped(plan, tmp_path):
    space = {"a": [1, 2, 3, 4]}
    first = Fake("good", space=space)
    whole = plan(first, trials=4)
    count = 0

    def dying(*arguments):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole.judge(*arguments)

    with pytest.raises(KeyboardInterrupt):
        run_plan(replace(whole, judge=dying), tmp_path, quiet)
    again = Fake("good", space=space)
    rows, trials = run_plan(plan(again, trials=4), tmp_path, quiet)
    assert len(trials["good"]) == 4
    assert len(first.calls) == 3 and len(again.calls) == 2 + len(whole.cases)
    last = Fake("good", space=space)
    assert run_plan(plan(last, trials=4), tmp_path, quiet)[0] == rows
    assert last.calls == []


def test_a_registration_is_repeated_when_its_seed_changes_and_perturbations_reach_the_method(plan, tmp_path):
    files = plan().cases[0].files
    method = Fake("m")
    seen = []

    def measure(pair, found):
        seen.append(pair.moving.volume.grid.affine[:3, 3])
        return {"measured": len(seen)}

    cases = [Case(files), Case(files, Perturbation("shift", [0, 30], "mm", "shift"), 30)]
    cells = [Cell(case, method, {"setting": {}}, tmp_path / f"{case.kind}.json") for case in cases]

    def rows(seed):
        return [row for _, row in run_cells(replace(plan(), seed=seed), cells, measure, quiet)]

    assert rows(1) == [{"measured": 1}, {"measured": 2}]
    assert float(((seen[1] - seen[0]) ** 2).sum() ** 0.5) == pytest.approx(30)
    assert rows(1) == [{"measured": 1}, {"measured": 2}], "nothing is registered again"
    assert rows(2) == [{"measured": 3}, {"measured": 4}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none.json", "shift.json"]
