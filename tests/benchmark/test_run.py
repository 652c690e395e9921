"""mmreg-benchmark as a user runs it, on a tiny phantom."""

from __future__ import annotations

import csv
import json

import pytest

QUICK = (
    "~features.learned",
    "~peers.convexadam",
    "~peers.ants_syn",
    "~peers.elastix",
    "~peers.greedy",
    "~features.intensity",
    "~solvers.adam",
    "~solvers.convex_adam",
    "features.mind_ssc.space={}",
    "+solvers.demons.overrides=['solver.iterations=2','solver.levels=[2,1]']",
    "tuning.trials=2",
)


def rows_of(folder, method):
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["method"] == method]


@pytest.mark.slow
def test_from_end_to_end_and_again(call_benchmark, tmp_path):
    code, out, err = call_benchmark(*QUICK)
    assert (code, "Traceback" in err) == (0, False), err
    folder = tmp_path / "out"
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} == {"mind_ssc+demons", "before"}
    own = [row for row in rows if row["method"] == "mind_ssc+demons"]
    assert len(own) == 2 and all(float(row["dice"]) > 0 and float(row["seconds_total"]) > 0 for row in own)
    assert "mind_ssc+demons" in out and "report.html" in out
    assert "mind_ssc+demons" in (folder / "report.html").read_text(encoding="utf-8")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["methods"]["mind_ssc+demons"]["trials"] == 2
    assert summary["command"].startswith("mmreg-benchmark data.root=")
    # A second run reads what is there: nothing is registered again, so the times stay as they are.
    seconds = [row["seconds_total"] for row in own]
    assert call_benchmark(*QUICK)[0] == 0
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        assert [row["seconds_total"] for row in csv.DictReader(stream) if row["method"] != "before"] == seconds
    code, _, err = call_benchmark(*QUICK, "seed=2")
    assert code == 2 and "holds results with seed=1, not 2: name another hydra.run.dir" in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "checkpoint=null: features.learned needs one"),
        ((*QUICK, "+peers.niftyreg={}"), "peers.niftyreg: must be one of"),
        (("~features.learned", "+features.edges={}"), "features.edges: needs _target_"),
        ((*QUICK, "tuning.trials=0"), "tuning.trials=0"),
        ((*QUICK, "report.split=all"), "report.split=all: must be one of"),
        ((*QUICK, "+solvers.magic={}"), "solver=magic: must be one of"),
        (("data.root=nowhere", *QUICK), "nowhere"),
        (("tuning.trails=3",), "trails"),
    ],
)
def test_wrong_configuration_is_one_sentence(call_benchmark, arguments, match):
    code, _, err = call_benchmark(*arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and match in err and len(lines) == 1 and "Traceback" not in err


@pytest.mark.slow
def test_a_family_of_the_user_runs_without_a_checkpoint(call_benchmark, tmp_path, monkeypatch):
    (tmp_path / "my_features.py").write_text(
        "import torch\n"
        "class Mine:\n"
        "    channels = 1\n"
        "    def __init__(self, stride, power):\n"
        "        self.stride, self.power = stride, power\n"
        "    def __call__(self, image, modality):\n"
        "        return torch.nn.functional.avg_pool3d(image.clamp(0, 1) ** self.power, self.stride)\n"
    )
    (tmp_path / "my_conf" / "features").mkdir(parents=True)
    (tmp_path / "my_conf" / "features" / "mine.yaml").write_text(
        "_target_: my_features.Mine\nstride: 2\npower: 1.0\nspace: {features.power: [0.5]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = (f"--config-dir={tmp_path / 'my_conf'}", "+features@features.mine=mine", "~features.mind_ssc")
    code, _, err = call_benchmark(*own, *(word for word in QUICK if "mind_ssc" not in word))
    assert (code, "Traceback" in err) == (0, False), err
    rows = rows_of(tmp_path / "out", "mine+demons")
    assert len(rows) == 2 and all(0 < float(row["dice"]) < 1 for row in rows)
    # Its search space has one value besides the default, of the solver's twelve settings one is drawn.
    trials = json.loads((tmp_path / "out" / "tuning" / "mine+demons.json").read_text(encoding="utf-8"))
    assert [trial["setting"].get("features.power") for trial in sorted(trials, key=lambda t: len(t["setting"]))] == [
        None,
        0.5,
    ]


@pytest.mark.slow
def test_the_true_labels_are_the_ceiling(call_benchmark, tmp_path):
    labels = ("+features@features.labels=labels", "tuning.trials=1")
    code, _, err = call_benchmark(*(word for word in QUICK if "trials" not in word), *labels)
    assert (code, "Traceback" in err) == (0, False), err
    found = {
        name: [float(row["dice"]) for row in rows_of(tmp_path / "out", name)]
        for name in ("labels+demons", "mind_ssc+demons")
    }
    assert len(found["labels+demons"]) == 2
    assert sum(found["labels+demons"]) > sum(found["mind_ssc+demons"])


@pytest.mark.slow
def test_fused_features_beside_mind_ssc(call_benchmark, weights, tmp_path):
    quick = [*QUICK, "+features@features.fused=fused", f"features.fused.learned={weights}"]
    quick += ["features.fused.space={features.mind_weight: [0.0, 1.0]}", "tuning.pairs=1", "report.pairs=1"]
    code, out, err = call_benchmark(*quick)
    assert (code, "Traceback" in err) == (0, False), err
    (row,) = rows_of(tmp_path / "out", "fused+demons")
    assert float(row["dice"]) > 0 and "fused+demons" in out
    trials = json.loads((tmp_path / "out" / "tuning" / "fused+demons.json").read_text(encoding="utf-8"))
    assert {trial["setting"].get("features.mind_weight") for trial in trials} & {0.0, 1.0}
    # What the results were computed with may not change: neither an argument of the extractor nor the solver.
    for change, told in (
        ("features.fused.dilation=1", "features.dilation=2, not 1"),
        ("solvers.demons.overrides=['solver.iterations=3','solver.levels=[2,1]']", "solver.iterations=2, not 3"),
    ):
        changed = [word for word in quick if not word.lstrip("+").startswith(change.partition("=")[0] + "=")]
        code, _, err = call_benchmark(*changed, f"++{change}")
        assert code == 2 and told in err, err
