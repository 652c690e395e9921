"""The comparison: what it refuses before it computes, what it tunes, and a run from end to end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from mmreg_lightning.benchmark.comparison import FAMILIES, compare
from mmreg_lightning.benchmark.comparison_inputs import select_pairs
from mmreg_lightning.benchmark.comparison_report import results_table, write_comparison_report
from mmreg_lightning.benchmark.search_space import search_space
from mmreg_lightning.benchmark.tuning import settings_grid
from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord, check_fits
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.settings import UNCLIPPED, solver_config
from mmreg_lightning.reporting.pages import markdown_table


@pytest.fixture(scope="module")
def dataset(phantom: Path) -> Learn2RegDataset:
    return Learn2RegDataset.read(phantom)


def swapped(pair: PairRecord) -> PairRecord:
    return PairRecord(pair.moving, pair.fixed)


def unlabelled(pair: PairRecord) -> PairRecord:
    return PairRecord(pair.fixed, dataclasses.replace(pair.moving, labels=None))


def with_split(dataset: Learn2RegDataset, split: str, pairs: list[PairRecord]) -> Learn2RegDataset:
    return dataclasses.replace(dataset, pairs={**dataset.pairs, split: pairs})


def test_a_checkpoint_for_these_data_is_accepted(dataset):
    check_fits(dataset, "a.ckpt", ["MR", "CT"], {**dataset.label_names, 99: "tail"})


@pytest.mark.parametrize(
    ("modalities", "labels", "match"),
    [
        (["MR", "US"], None, "registers CT to MR, but checkpoint a.ckpt was trained to register US to MR"),
        (["CT", "MR"], None, "registers CT to MR, but checkpoint a.ckpt was trained to register MR to CT"),
        (["MR", "CT"], {2: "tail", 3: "fin"}, "label 2 is '.*', but 'tail' in checkpoint a.ckpt"),
        (["MR", "CT"], {99: "tail"}, "declares none of the labels"),
    ],
)
def test_a_checkpoint_for_other_data_is_refused(dataset, modalities, labels, match):
    with pytest.raises(UserError, match=match):
        check_fits(dataset, "a.ckpt", modalities, labels or dataset.label_names)


def test_one_modality_in_both_roles_is_refused(dataset):
    same = dataclasses.replace(dataset, moving_modality="MR")
    with pytest.raises(UserError, match="both MR"):
        check_fits(same, "a.ckpt", ["MR", "MR"], dataset.label_names)


def test_pairs_of_two_subjects_are_tuned_on_where_there_are_any(dataset):
    own = dataset.pairs["val"][0]
    other = PairRecord(own.fixed, dataset.pairs["test"][0].moving)
    assert own.same_subject and not other.same_subject
    mixed = with_split(dataset, "val", [own, other, own])
    assert select_pairs(mixed, "val", 6, "test").tuning == [other]
    assert select_pairs(with_split(dataset, "val", [own, own]), "val", 1, "test").tuning == [own]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda pairs: [], "lists no pairs of the split"),
        (lambda pairs: [swapped(pairs[0])], "the fixed image of a pair is CT, not MR"),
        (lambda pairs: [unlabelled(pairs[0])], r"_0001\.nii\.gz: an image without labels"),
    ],
    ids=["empty", "swapped", "unlabelled"],
)
def test_pairs_that_cannot_be_used(dataset, split, change, match):
    with pytest.raises(UserError, match=match):
        select_pairs(with_split(dataset, split, change(dataset.pairs[split])), "val", 6, "test")


@pytest.mark.parametrize("count", [0, -1])
def test_tuning_pairs_are_counted_from_1(dataset, count):
    with pytest.raises(UserError, match=f"--tune-pairs={count}"):
        select_pairs(dataset, "val", count, "test")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("GaussianRegulariser", "step.regulariser.sigma_field"),
        ("DiffusionRegulariser", "step.regulariser.weight"),
        ("NoRegulariser", "iterations"),
    ],
)
def test_every_regulariser_gets_as_many_settings(name, key):
    target = f"mmreg_lightning.descent.regularisers.{name}"
    config = solver_config("demons", None, [f"solver.step.regulariser={{_target_: {target}}}"])
    space = search_space(config)
    assert list(space) == ["step.alpha", key]
    assert len(settings_grid(space)) == 12


def test_what_cannot_be_tuned_is_refused():
    config = solver_config("demons", None, [])
    with pytest.raises(UserError, match="solver._target_=my.Solver"):
        search_space({**config, "_target_": "my.Solver"})
    with pytest.raises(UserError, match="regulariser._target_=my.GaussianRegulariser"):
        search_space({**config, "step": {"regulariser": {"_target_": "my.GaussianRegulariser"}}})


@pytest.mark.slow
def test_from_end_to_end(trained, phantom, cache_dir, tmp_path):
    told = []
    out = tmp_path / "out"
    comparison = compare(
        trained, phantom, out, cache_dir=cache_dir, tune_pairs=4, progress=lambda *what: told.append(what)
    )
    assert told[0] == ("tuning", 1, 60) and told[59] == ("tuning", 60, 60) and told[-1] == ("registering", 1, 1)
    assert comparison.tuning_pairs == 1
    assert {family: len(comparison.trials[family]) for family in FAMILIES} == {
        "mind_ssc": 36,  # with each of three patch sizes
        "learned": 12,
        "labels": 12,
    }
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert "features.radius" in results["mind_ssc"]["setting"]
    run = yaml.safe_load((out / results["mind_ssc"]["cases"][0]["folder"] / "run.yaml").read_text(encoding="utf-8"))
    assert run["settings"]["features"]["radius"] == results["mind_ssc"]["setting"]["features.radius"]
    assert run["settings"]["normalisation"]["CT"] == UNCLIPPED
    assert results["labels"]["dice"] > 0.5
    for family in FAMILIES:
        assert (out / results[family]["cases"][0]["folder"] / "metrics.json").is_file()
    assert markdown_table(results_table(results)).count("\n") == 5
    write_comparison_report(out / "report.html", results, "a < b", ["a note"])
    assert "a &lt; b" in (out / "report.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="tuning.json of a"):
        compare(trained, phantom, out, cache_dir=cache_dir)
