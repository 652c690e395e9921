"""The benchmark as a user runs it, on a tiny phantom; and what it does about failures and interruptions."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch

from mmreg_lightning.benchmark import runner
from mmreg_lightning.benchmark.facts import check_same
from mmreg_lightning.benchmark.methods import Registered
from mmreg_lightning.benchmark.peers.process import PeerError, run_peer
from mmreg_lightning.benchmark.plan import Plan, draw_settings, make_family, make_plan, select
from mmreg_lightning.benchmark.report import write_results
from mmreg_lightning.benchmark.runner import run_plan
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.errors import UserError


@pytest.fixture
def phantom(pairs_phantom):
    return pairs_phantom


@pytest.fixture
def call(call_benchmark):
    return call_benchmark


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


@pytest.mark.slow
def test_from_end_to_end_and_again(call, tmp_path):
    code, out, err = call(*QUICK)
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
    assert call(*QUICK)[0] == 0
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        assert [row["seconds_total"] for row in csv.DictReader(stream) if row["method"] != "before"] == seconds
    code, _, err = call(*QUICK, "seed=2")
    assert code == 2 and "holds a benchmark with seed=1, not 2" in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "checkpoint=null: features.learned needs one"),
        ((*QUICK, "+peers.niftyreg={}"), "peers.niftyreg: must be one of"),
        (("~features.learned", "+features.edges={}"), "features.edges: must be one of"),
        ((*QUICK, "tuning.trials=0"), "tuning.trials=0"),
        ((*QUICK, "report.split=all"), "report.split=all: must be one of"),
        ((*QUICK, "+solvers.magic={}"), "--solver magic"),
        (("data.root=nowhere", *QUICK), "nowhere"),
        (("tuning.trails=3",), "trails"),
    ],
)
def test_wrong_configuration_is_one_sentence(call, tmp_path, arguments, match):
    code, _, err = call(*arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and match in err and len(lines) == 1 and "Traceback" not in err


class Fake:
    """Moves nothing, or fails where it is told to."""

    def __init__(self, name, failing=(), space=None):
        self.name, self.failing, self.space = name, failing, space or {}
        self.calls = []

    def __call__(self, pair, data, setting):
        self.calls.append((pair.name, dict(setting)))
        if pair.name in self.failing or setting.get("broken"):
            raise PeerError("it fell over")
        return Registered(torch.zeros(1, 3, *data.fixed.grid.shape), {"total": 1.0}, None)

    tried = __call__


@pytest.fixture
def plan(phantom):
    dataset = Learn2RegDataset.read(phantom)

    def make(*methods, trials=1):
        tuning, reported = select(dataset, "tuning", "val", 1), select(dataset, "report", "test", None)
        return Plan(dataset, dataset.label_names, methods, {}, tuning, reported, trials, 1)

    return make


def quiet(what, done, total):
    assert 0 <= done <= total


def test_failures_are_named_not_dropped(plan, tmp_path):
    two = [pair.name for pair in plan().reported]
    methods = Fake("good"), Fake("weak", failing=two[:1], space={"broken": [True]})
    rows, trials = run_plan(plan(*methods, trials=2), tmp_path, quiet)
    assert [("error" in t) for t in trials["weak"]] == [False, True]
    failed = [row for row in rows if "error" in row]
    assert [(row["method"], row["case"], row["error"]) for row in failed] == [("weak", two[0], "it fell over")]
    facts = {"title": "t", "what": "w", "command": "c"}
    summary = write_results(tmp_path, rows, trials, facts)
    assert summary["methods"]["weak"]["failed_cases"] == two[:1]
    assert summary["methods"]["weak"]["measures"]["dice"]["cases"] == 1
    assert f"Without a result, not in the means: weak: {two[0]}" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_method_that_always_fails_is_named_and_the_others_go_on(plan, tmp_path):
    everything = [pair.name for pair in plan().tuning]
    rows, trials = run_plan(plan(Fake("weak", failing=everything), Fake("good")), tmp_path, quiet)
    assert "error" in trials["weak"][0] and "error" not in trials["good"][0]
    assert {row["error"] for row in rows if row["method"] == "weak"} == {"it fell over"}
    summary = write_results(tmp_path, rows, trials, {"title": "t", "what": "w", "command": "c"})
    assert summary["methods"]["good"]["measures"]["dice"]["cases"] == len(plan().reported)
    assert set(summary["methods"]["weak"]["failed_cases"]) == {pair.name for pair in plan().reported}
    assert "| weak | 1 | 1 | the default | – |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="every trial of every method failed, the first of weak with: it fell over"):
        run_plan(plan(Fake("weak", failing=everything)), tmp_path / "alone", quiet)


def test_a_killed_benchmark_goes_on_where_it_stopped(plan, tmp_path, monkeypatch):
    space = {"a": [1, 2, 3, 4]}
    first = Fake("good", space=space)
    real, count = runner.score, 0

    def dying(*arguments):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(runner, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan(first, trials=4), tmp_path, quiet)
    monkeypatch.setattr(runner, "score", real)
    again = Fake("good", space=space)
    rows, trials = run_plan(plan(again, trials=4), tmp_path, quiet)
    assert len(trials["good"]) == 4
    assert len(first.calls) == 3 and len(again.calls) == 2 + len(plan().reported)
    last = Fake("good", space=space)
    assert run_plan(plan(last, trials=4), tmp_path, quiet)[0] == rows
    assert last.calls == []


def test_settings_are_the_default_and_a_seeded_draw():
    space = {"a": [1, 2, 3], "b": ["x", "y"]}
    drawn = draw_settings(space, 4, seed=1)
    assert drawn[0] == {} and len(drawn) == 4 and len({str(s) for s in drawn}) == 4
    assert drawn == draw_settings(space, 4, seed=1) != draw_settings(space, 4, seed=2)
    assert len(draw_settings(space, 100, seed=1)) == 7
    assert draw_settings({}, 5, seed=1) == [{}]


def test_shipped_configuration_names_what_there_is(phantom):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mmreg_lightning.benchmark.tuning import with_setting
    from mmreg_lightning.config import CONF_DIR
    from mmreg_lightning.registration.settings import solver_config

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("benchmark", overrides=[f"data.root={phantom}", "output_dir=x"])
    settings = OmegaConf.to_container(config, resolve=True)
    del settings["features"]["learned"]
    settings["peers"] = {}
    plan = make_plan(settings)
    assert [m.name for m in plan.methods] == [
        f"{f}+{s}" for f in ("mind_ssc", "intensity") for s in ("demons", "adam", "convex_adam")
    ]
    for name, solver in settings["solvers"].items():
        base = solver_config(name, None, [])
        for key, values in solver["space"].items():
            changed = with_setting(base, {key.removeprefix("solver."): values[0]})
            assert str(changed).count(":") == str(base).count(":"), f"{key} is no setting of {name}"
    with pytest.raises(UserError, match="features.learned needs one"):
        make_family("learned", {}, settings, plan.dataset)


def test_a_peer_that_cannot_run_says_so(tmp_path):
    missing = tmp_path / "missing.nii.gz"
    with pytest.raises(PeerError, match="convexadam: exit code 1; .*missing.nii.gz"):
        run_peer("convexadam", missing, missing, tmp_path / "field.nii.gz", {}, 1)


def test_a_folder_does_not_take_results_of_other_files(phantom, tmp_path):
    pairs = Learn2RegDataset.read(shutil.copytree(phantom, tmp_path / "data")).pairs["test"]
    settings = {"checkpoint": None}
    check_same(tmp_path, settings, pairs[:1])
    check_same(tmp_path, settings, pairs)
    image = pairs[-1].moving.image
    image.write_bytes(image.read_bytes() + b"0")
    with pytest.raises(UserError, match=f"holds results of .*{image.name} as it was before it changed"):
        check_same(tmp_path, settings, pairs)


def test_a_folder_takes_more_pairs_and_a_checkpoint_but_no_other_tuning(tmp_path):
    base = {"checkpoint": None, "seed": 1, "report": {"split": "test", "pairs": 2}, "tuning": {"pairs": 3, "trials": 4}}
    check_same(tmp_path, base)
    check_same(tmp_path, {**base, "report": {"split": "test", "pairs": 20}})
    (tmp_path / "a.ckpt").write_bytes(b"a")
    (tmp_path / "b.ckpt").write_bytes(b"b")
    joined = {**base, "checkpoint": str(tmp_path / "a.ckpt")}
    check_same(tmp_path, joined)
    for other in (
        {**joined, "checkpoint": str(tmp_path / "b.ckpt")},
        {**joined, "report": {"split": "val", "pairs": 2}},
        {**joined, "tuning": {"pairs": 3, "trials": 5}},
    ):
        with pytest.raises(UserError, match="holds a benchmark with"):
            check_same(tmp_path, other)
