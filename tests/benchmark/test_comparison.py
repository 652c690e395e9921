"""The comparison: what it refuses before it computes, what it tunes, and a run from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from scenes import QUICK, STRAIGHT, image_of, organs, picture

from mmreg_lightning.benchmark.comparison import (
    compare,
    comparison_plan,
    method_note,
    results_table,
    write_comparison_report,
)
from mmreg_lightning.benchmark.methods import Outcome
from mmreg_lightning.data.pair import Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.settings import Options, resolve
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


def test_what_masks_leave_out_is_not_judged(trained, phantom):
    """The fixed image has another content, and other labels, in a quarter of it, outside of its mask."""
    judge = comparison_plan(trained, phantom).judge
    settings = resolve(Options(features="intensity", spacing=3.0, solver="demons", overrides=QUICK))
    voxels = np.stack(np.meshgrid(*(np.arange(32),) * 3, indexing="ij"), axis=-1) @ STRAIGHT[:3, :3].T + STRAIGHT[:3, 3]
    first, second = organs(voxels)
    labels, mask = 1 * first + 2 * second, np.zeros((32, 32, 32))
    mask[:14] = 1
    noise = np.random.default_rng(0).integers(0, 3, (8, 32, 32))
    noisy = np.concatenate([labels[:24], noise]), np.concatenate([picture(voxels)[:24], 80.0 * noise])
    moving = image_of(np.roll(picture(voxels), 2, axis=1), STRAIGHT, labels=np.roll(labels, 2, axis=1))
    cosines = {}
    for name, own, weight in (("same", 0, None), ("noise", 1, None), ("masked", 0, mask), ("masked noise", 1, mask)):
        ids, array = noisy if own else (labels, picture(voxels))
        pair = Pair(image_of(array, STRAIGHT, weight, labels=ids), moving)
        found = register_pair(pair, settings)
        outcome = Outcome(found.displacement, {}, None, found.registration, settings)
        cosines[name] = judge(pair, outcome)["cosine"]
    assert abs(cosines["same"] - cosines["noise"]) > 0.4
    assert cosines["masked"] == pytest.approx(cosines["masked noise"], abs=0.04)  # smoothing looks across the border


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
    assert run["settings"]["normalisation"]["CT"] == {
        "kind": "percentile",
        "low": 1.0,
        "high": 99.0,
        "clip": False,
    }
    assert results["labels"]["dice"] > 0.5
    for family in trials:
        assert (out / results[family]["cases"][0]["folder"] / "metrics.json").is_file()
    assert markdown_table(results_table(results)).count("\n") == 5
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a &lt; b" in page and "same 12 settings" in page and "over 1 pair of the val split" in page
    with pytest.raises(UserError, match="tuning.json of a"):
        compare(trained, phantom, out)


def result(dice):
    case = {"case": "0001_to_0002", "same_subject": False, "dice_before": 0.4, "dice": dice, "folder": "."}
    means = {"dice": dice, "tre_mm": None, "folds_percent": 0.0, "sdlogj": 0.1234, "seconds": 1.26}
    return {**means, "cases": [case]}


RESULTS = {name: result(dice) for name, dice in (("before", 0.4), ("mind_ssc", 0.5), ("learned", 0.7), ("labels", 0.9))}


def test_a_measure_that_is_missing_is_a_dash():
    table = results_table(RESULTS)
    assert table[0] == ["", "Dice", "TRE, mm", "folds, %", "SDlogJ", "cosine", "s / pair"]
    assert table[3] == ["learned + demons", "0.700", "–", "0.000", "0.123", "–", "1.3"]


def test_the_page_has_the_numbers_the_training_and_the_pictures(tmp_path):
    (tmp_path / "report.png").write_bytes(b"picture")
    log = tmp_path / "metrics.csv"
    log.write_text("step,train/organ_loss,val/dice\n1,0.5,\n2,,0.6\n")
    write_comparison_report(tmp_path / "report.html", RESULTS, "a < b", ["a note"], log)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a &lt; b" in page and "a note" in page and "Training: losses" in page
    assert "MIND-SSC + demons: Dice 0.400 to 0.500" in page and "cGljdHVyZQ==" in page


def test_the_note_says_what_was_done():
    note = method_note(trials=12, pairs=3, tune="val", report="test")
    assert "same 12 settings" in note and "over 3 pairs of the val split" in note
    assert "more than 0.1 % of the voxels" in note and "from the test split" in note


def test_the_note_says_when_nothing_was_held_out():
    note = method_note(trials=12, pairs=1, tune="val", report="val")
    assert "over 1 pair of the val split" in note and "tuned on the pairs of the reported split val itself" in note


def test_weights_are_compared_beside_a_checkpoint_and_alone(trained, weights, phantom):
    plan = comparison_plan(trained, phantom, features=[str(weights), "fused"])
    names = ["mind_ssc", "learned", "generalist-1", "fused", "labels"]
    assert [method.family.name for method in plan.methods] == names
    assert plan.methods[3].family.checkpoint == trained, "the checkpoint is the learned part"
    assert {method.family.spacing for method in plan.methods} == {12.0}
    alone = comparison_plan(None, phantom, features=[str(weights)])
    assert [method.family.name for method in alone.methods] == ["mind_ssc", "generalist-1", "labels"]
    assert alone.methods[2].family.features.ids == list(alone.dataset.label_names), "all organs of the data set"


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([], "^checkpoint=None: must be given, or features$"),
        (["mind_ssc"], "^features=mind_ssc: is compared already"),
        (["intensity", "intensity"], "^features=intensity: is compared already, a further family must have another"),
        (["generalist-9"], "^features=generalist-9: must be one of"),
    ],
)
def test_families_that_cannot_be_compared(phantom, features, expected):
    with pytest.raises(UserError, match=expected):
        comparison_plan(None, phantom, features=features)


@pytest.mark.slow
def test_weights_alone_from_end_to_end(weights, phantom, tmp_path):
    results = compare(None, phantom, tmp_path, features=[str(weights)], tune_pairs=1)
    assert list(results) == ["before", "mind_ssc", "generalist-1", "labels"]
    assert results_table(results)[3][0] == "generalist-1, never trained on this data, + demons"
    assert results["generalist-1"]["dice"] is not None and "header_notes" in results["generalist-1"]
    run = tmp_path / results["generalist-1"]["cases"][0]["folder"] / "run.yaml"
    told = yaml.safe_load(run.read_text(encoding="utf-8"))
    assert told["inputs"]["weights"]["path"] == str(weights) and told["settings"]["features"]["learned"] == str(weights)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "generalist-1, never trained on this data, + demons: Dice" in page
