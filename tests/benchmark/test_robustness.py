"""`mmreg-benchmark experiment=robustness` as a user runs it, on a tiny phantom."""

from __future__ import annotations

import csv
import json
from functools import partial

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mmreg_lightning.benchmark.robustness import make_robustness_plan, run_robustness
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError


@pytest.fixture
def call(call_benchmark):
    return partial(call_benchmark, "experiment=robustness")


QUICK = (
    "robustness.families=[mind_ssc,intensity]",
    "robustness.pairs=2",
    "robustness.same_subject_pairs=1",
    "robustness.draws=50",
    "~robustness.perturbations.bias",
    "~robustness.perturbations.gamma",
    "~robustness.perturbations.contrast",
    "~robustness.perturbations.rotation",
    "~robustness.perturbations.thickness",
    "~robustness.perturbations.missing_organ",
    "robustness.perturbations.noise.levels=[0,0.2]",
    "robustness.perturbations.shift.levels=[0,30]",
    "robustness.perturbations.crop.levels=[0,30]",
    "features.mind_ssc.space={}",
    "+solvers.demons.overrides=['solver.iterations=2','solver.levels=[2,1]']",
    "tuning.trials=1",
    "+robustness.settings.intensity={solver.step.alpha: 0.3}",
)


def read(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_from_end_to_end_and_again(call, call_benchmark, tmp_path):
    code, out, err = call(*QUICK)
    assert (code, "Traceback" in err) == (0, False), err
    folder = tmp_path / "out"
    rows = read(folder / "results.csv")
    assert {row["perturbation"] for row in rows} == {"shift", "noise", "crop"}
    assert len(rows) == 3 * 2 * 3 * 2  # cases, methods, perturbations, levels
    # Level 0 is one registration, whatever the perturbation.
    plain = {(r["case"], r["method"]): set() for r in rows}
    for row in rows:
        if float(row["level"]) == 0:
            plain[row["case"], row["method"]].add((row["dice"], row["seconds"]))
    assert all(len(values) == 1 for values in plain.values())
    areas = read(folder / "areas.csv")
    assert {(a["measure"], a["perturbation"]) for a in areas} == {
        (m, p) for m in ("dice", "tre_mm") for p in ("shift", "noise", "crop")
    }
    assert all(a["cases"] == "2" for a in areas if a["measure"] == "dice")
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "Fewer training subjects: no checkpoints" in page and "solver.step.alpha=0.3" in page
    assert (folder / "dice.png").is_file() and (folder / "tre_mm.png").is_file()
    # It is the ordinary benchmark's result at level 0.
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["settings"]["intensity+demons"] == {"solver.step.alpha": 0.3}
    seconds = [row["seconds"] for row in rows]
    assert call(*QUICK)[0] == 0
    assert [row["seconds"] for row in read(folder / "results.csv")] == seconds, "nothing is registered again"
    ordinary = tmp_path / "ordinary"
    own = [word for word in QUICK if "robustness" not in word]
    peers = ["~peers.convexadam", "~peers.ants_syn", "~peers.elastix", "~peers.greedy"]
    rest = ["~features.learned", "~features.intensity", "~solvers.adam", "~solvers.convex_adam"]
    assert call_benchmark(f"hydra.run.dir={ordinary}", *own, *peers, *rest)[0] == 0
    expected = {r["case"]: r["dice"] for r in read(ordinary / "results.csv") if r["method"] == "mind_ssc+demons"}
    found = {
        r["case"]: r["dice"]
        for r in rows
        if r["method"] == "mind_ssc+demons" and float(r["level"]) == 0 and r["case"] in expected
    }
    assert found == expected and len(found) == 2


@pytest.mark.slow
def test_checkpoints_of_fewer_subjects_and_features_without_training(trained, pairs_phantom, tmp_path):
    """Learned features are registered with each checkpoint; the others have one row at every number of subjects."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        quick = [word for word in QUICK if "families" not in word and "settings.intensity" not in word]
        words = [f"data.root={pairs_phantom}", f"checkpoint={trained}", "output_dir=x", "experiment=robustness", *quick]
        config = OmegaConf.to_container(compose("benchmark", overrides=words), resolve=True)
    config["robustness"]["checkpoints"] = {3: str(trained), 1: str(trained)}
    config["robustness"]["perturbations"] = {"noise": config["robustness"]["perturbations"]["noise"]}
    robust = make_robustness_plan(config)
    assert list(robust.fewer) == [1, 3] and len(robust.plan.cases) == 3
    rows, used = run_robustness(robust, tmp_path, lambda *what: None)
    subjects = [row for row in rows if row["perturbation"] == "training_subjects"]
    places = {(row["method"], row["level"]) for row in subjects}
    assert places == {(f"{family}+demons", number) for family in ("learned", "mind_ssc") for number in (1, 3)}
    assert len(subjects) == 2 * 2 * 3 and set(used) == {"learned+demons", "mind_ssc+demons"}
    plain = {row["case"]: row["dice"] for row in rows if row["method"] == "mind_ssc+demons" and row["level"] == 0}
    assert all(row["dice"] == plain[row["case"]] for row in subjects if row["method"] == "mind_ssc+demons")
    assert (tmp_path / "cases" / "learned+demons" / "training_subjects_3" / f"{subjects[0]['case']}.json").is_file()
    config["robustness"]["families"] = ["mind_ssc"]
    with pytest.raises(UserError, match="robustness.checkpoints: needs learned"):
        make_robustness_plan(config)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "checkpoint=null: features.learned needs one"),
        ((*QUICK, "robustness.families=[edges]"), "robustness.families=['edges']: must be of"),
        ((*QUICK, "robustness.solver=magic"), "robustness.solver=magic: must be of"),
        ((*QUICK, "robustness.pairs=0"), "robustness.pairs=0"),
        ((*QUICK, "robustness.percent=100"), "robustness.percent=100"),
        ((*QUICK, "robustness.perturbations.noise.levels=[1,2]"), "noise.levels=[1, 2]: must be 0"),
        ((*QUICK, "+robustness.settings.learned={}"), "robustness.settings.learned: must be of"),
    ],
)
def test_wrong_configuration_is_one_sentence(call, arguments, match):
    code, _, err = call(*arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and match in err and len(lines) == 1 and "Traceback" not in err
