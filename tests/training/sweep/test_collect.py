"""What the report of a sweep lists: what a run wrote itself, at any depth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.sweep.collect import read_sweep
from mmreg_lightning.training.sweep.record import (
    RunIdentity,
    RunRecord,
    note_asked,
    write_failure,
    write_identity,
    write_record,
)
from mmreg_lightning.training.sweep.report import write_sweep_report

ONE = RunIdentity("1" * 64, "d" * 64, "data", ["seed=1"])


def run(sweep, name, identity=None, dice=None, hydra=None, number=0):
    folder = sweep / name
    (folder / ".hydra").mkdir(parents=True)
    if hydra is not None:
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(hydra))
        (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"job": {"num": number}}}))
    if identity is not None:
        write_identity(identity, folder)
    if dice is not None:
        write_record(RunRecord(identity.fingerprint, identity.overrides, {"val/dice": dice}, [], 1.0), folder)
    return folder


def listed(sweep):
    return {each.name: (each.status, each.values.get("seed")) for each in read_sweep(sweep)}


def test_the_record_is_believed_and_not_what_hydra_noted_later(tmp_path):
    run(tmp_path, "0", ONE, 0.5, hydra=["seed=0"])
    assert listed(tmp_path) == {"0": ("finished", "1")}
    other = replace(ONE, fingerprint="0" * 64, overrides=["seed=0"])
    for each in (ONE, other):
        note_asked(tmp_path, each)
    run(tmp_path, "0-000000", other, 0.7)
    assert listed(tmp_path) == {"0": ("finished", "1"), "0-000000": ("finished", "0")}


def test_runs_at_any_depth(tmp_path):
    run(tmp_path, "objective=val/cosine", ONE, 0.5)
    assert listed(tmp_path) == {"objective=val/cosine": ("finished", "1")}


def test_a_later_failure_is_not_hidden_by_an_earlier_result(tmp_path):
    write_failure(run(tmp_path, "a", ONE, 0.5), "Trace\nwhy", tmp_path)
    (found,) = read_sweep(tmp_path)
    assert (found.status, found.message, found.record) == ("failed", "why", None)


def test_results_of_other_data_or_another_configuration_are_outdated(tmp_path):
    run(tmp_path, "a", ONE, 0.5)
    now = replace(ONE, fingerprint="2" * 64)
    note_asked(tmp_path, now)
    assert listed(tmp_path) == {"a": ("outdated", "1")}
    run(tmp_path, "b", now, 0.6)
    assert listed(tmp_path) == {"a": ("outdated", "1"), "b": ("finished", "1")}
    note_asked(tmp_path, ONE)  # the change is taken back
    assert listed(tmp_path) == {"a": ("finished", "1"), "b": ("outdated", "1")}
    note_asked(tmp_path, replace(ONE, fingerprint="3" * 64, data="e" * 64, overrides=["seed=3"]))
    run(tmp_path, "c", replace(ONE, fingerprint="4" * 64, overrides=["seed=4"]), 0.7)
    assert listed(tmp_path)["c"] == ("outdated", "4"), "the data set has changed since"


def test_a_result_that_is_of_another_training_than_its_folder_is_none(tmp_path):
    folder = run(tmp_path, "a", ONE, 0.5)
    write_identity(replace(ONE, fingerprint="2" * 64), folder)
    assert listed(tmp_path) == {"a": ("unfinished", "1")}


def test_what_has_not_begun(tmp_path):
    run(tmp_path, "later", hydra=["seed=2"])
    run(tmp_path, "elsewhere", hydra=["seed=1"])
    run(tmp_path, "a", ONE, 0.5)
    assert listed(tmp_path) == {"later": ("unfinished", "2"), "a": ("finished", "1")}
    with pytest.raises(UserError, match="holds no run of a multirun"):
        read_sweep(tmp_path / "later" / ".hydra")


def test_a_sweep_of_a_version_that_noted_no_identity(tmp_path):
    folder = run(tmp_path, "a", hydra=["seed=5"])
    write_record(RunRecord("f", ["seed=5"], {"val/dice": 0.5}, [], 1.0), folder)
    assert listed(tmp_path) == {"a": ("finished", "5")}


def test_the_report_repeats_what_a_training_warned_of(tmp_path):
    folder = run(tmp_path, "a", ONE)
    metrics = {"val/dice": 0.4, "val/dice_before": 0.5}
    write_record(RunRecord(ONE.fingerprint, ONE.overrides, metrics, [], 1.0, ["this is worse"]), folder)
    assert "Warnings: a: this is worse." in write_sweep_report(tmp_path)
    assert "a: this is worse" in (tmp_path / "report.md").read_text()
    run(tmp_path, "b", replace(ONE, fingerprint="2" * 64, overrides=["seed=2"]), 0.6)
    assert write_sweep_report(tmp_path).count("worse") == 1
