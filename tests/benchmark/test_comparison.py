"""The comparison: what it refuses before it computes, what it tunes, and a run from end to end."""

from __future__ import annotations

import json

import pytest
import yaml

from mmreg_lightning.benchmark.comparison import compare, comparison_plan
from mmreg_lightning.benchmark.comparison_report import results_table
from mmreg_lightning.errors import UserError
from mmreg_lightning.reporting.pages import markdown_table


@pytest.mark.parametrize("count", [0, -1])
def test_tuning_pairs_are_counted_from_1(trained, phantom, count):
    with pytest.raises(UserError, match=f"^tune_pairs={count}: must"):
        comparison_plan(trained, phantom, tune_pairs=count)


def test_every_family_gets_the_solver_and_the_grid_of_the_checkpoint(trained, phantom):
    plan = comparison_plan(trained, phantom)
    assert [method.name for method in plan.methods] == ["mind_ssc+demons", "learned+demons", "labels+demons"]
    assert len({json.dumps(method.config) for method in plan.methods}) == 1
    assert {(method.family.spacing, method.family.features.stride) for method in plan.methods} == {(12.0, 2)}
    assert plan.methods[0].config["iterations"] == 1, "as the checkpoint was trained with"
    assert [case.files.name for case in plan.cases] == ["0005_to_0005"]


@pytest.mark.slow
def test_from_end_to_end(trained, phantom, tmp_path):
    told = []
    out = tmp_path / "out"
    compare(trained, phantom, out, tune_pairs=4, title="a < b", progress=lambda *what: told.append(what))
    assert told[0] == ("tuning", 0, 60) and told[60] == ("tuning", 60, 60) and told[-1] == ("registering", 1, 1)
    trials = json.loads((out / "tuning.json").read_text(encoding="utf-8"))
    assert {family: len(own) for family, own in trials.items()} == {
        "mind_ssc": 36,  # with each of three patch sizes
        "learned": 12,
        "labels": 12,
    }
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert "features.radius" in results["mind_ssc"]["setting"]
    run = yaml.safe_load((out / results["mind_ssc"]["cases"][0]["folder"] / "run.yaml").read_text(encoding="utf-8"))
    assert run["settings"]["features"]["radius"] == results["mind_ssc"]["setting"]["features.radius"]
    assert run["settings"]["normalisation"]["CT"] == {"kind": "percentile", "low": 0.0, "high": 100.0}
    assert results["labels"]["dice"] > 0.5
    for family in trials:
        assert (out / results[family]["cases"][0]["folder"] / "metrics.json").is_file()
    assert markdown_table(results_table(results)).count("\n") == 5
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a &lt; b" in page and "same 12 settings" in page and "over 1 pair of the val split" in page
    with pytest.raises(UserError, match="tuning.json of a"):
        compare(trained, phantom, out)
