"""Which folder a run of a sweep trains in."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import pytest

from mmreg_lightning.files import folder_lock
from mmreg_lightning.training.sweep.record import (
    IDENTITY,
    RESULT,
    RunIdentity,
    claim_folder,
    failures,
    fingerprint,
    forget_failures,
    is_first_process,
    note_asked,
    read_asked,
    read_identity,
    write_failure,
)

ONE = RunIdentity("1" * 64, "d" * 64, "data", ["seed=1"])
OTHER = RunIdentity("2" * 64, "d" * 64, "data", ["seed=2"])
SETTINGS = {
    "seed": 1,
    "output_dir": "a",
    "ckpt_path": None,
    "init_from": None,
    "logger": {"csv": {"save_dir": "a"}},
    "callbacks": {"keep": {"_target_": "x", "dirpath": "a"}, "off": None},
    "data": {"root": "d", "cache_dir": "c"},
}


def test_what_a_fingerprint_sees():
    elsewhere = json.loads(json.dumps(SETTINGS).replace('"a"', '"b"').replace('"c"', '"e"'))
    assert fingerprint(SETTINGS) == fingerprint(elsewhere)
    for change in (
        {"seed": 2},
        {"objective": "val/cosine"},
        {"callbacks": {"keep": {"_target_": "y"}}},
        {"data": {"root": "e", "cache_dir": "c"}},
    ):
        assert fingerprint(SETTINGS) != fingerprint({**SETTINGS, **change}), change
    assert fingerprint(SETTINGS, "data of one kind") != fingerprint(SETTINGS, "data of another")


@pytest.mark.parametrize("key", ["ckpt_path", "init_from"])
def test_a_fingerprint_sees_what_weights_a_training_begins_with(tmp_path, key):
    files = [tmp_path / name for name in ("one.ckpt", "same.ckpt", "other.ckpt")]
    for file, text in zip(files, ("weights", "weights", "others"), strict=True):
        file.write_text(text)
    one, same, other = (fingerprint({**SETTINGS, key: str(file)}) for file in files)
    assert one == same and len({one, other, fingerprint(SETTINGS)}) == 3
    own = {**SETTINGS, "output_dir": str(tmp_path), "ckpt_path": str(files[0])}
    assert fingerprint(own) == fingerprint(SETTINGS) == fingerprint({**SETTINGS, "ckpt_path": "auto"})


def test_a_folder_belongs_to_one_training(tmp_path, capsys):
    folder = tmp_path / "run"
    assert claim_folder(tmp_path, folder, ONE) == folder and read_identity(folder) == ONE
    assert claim_folder(tmp_path, folder, ONE) == folder and capsys.readouterr().out == ""
    beside = claim_folder(tmp_path, folder, OTHER)
    assert beside == tmp_path / "run-222222" and read_identity(folder) == ONE
    assert capsys.readouterr().out.count("\n") == 1
    assert claim_folder(tmp_path, tmp_path / "deep" / "other_name", OTHER) == beside, "wherever it was begun"
    assert claim_folder(tmp_path, folder, replace(OTHER, fingerprint="2" * 63 + "3")).name == f"run-{'2' * 63}3"


@pytest.mark.parametrize("name", [RESULT, "last.ckpt"])
def test_a_training_of_a_version_that_noted_no_identity_is_left_alone(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("{}")
    assert claim_folder(tmp_path, tmp_path / "run", ONE) == tmp_path / "run-111111"
    assert (tmp_path / "run" / name).read_text() == "{}" and not (tmp_path / "run" / IDENTITY).exists()


def _claim_and_train(sweep, number, results):
    own = replace(ONE, fingerprint=str(number % 2) * 64)
    folder = claim_folder(sweep, sweep / "run", own)
    with folder_lock(folder, wait=True):
        training = folder / "training"
        training.touch(exist_ok=False)  # raises where another one is at it
        for _ in range(1000):
            assert read_identity(folder).fingerprint == own.fingerprint
        training.unlink()
    results.put(folder.name)


def test_processes_that_ask_at_once_never_train_in_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_claim_and_train, args=(tmp_path, n, results)) for n in range(6)]
    for process in processes:
        process.start()
    names = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert len(set(names)) == 2 and "run" in names


def test_failures_are_of_the_multirun_under_way(tmp_path):
    (tmp_path / "run").mkdir()
    assert failures(tmp_path) == []
    write_failure(tmp_path / "run", "why\n", tmp_path)
    write_failure(tmp_path / "run", "why\n", tmp_path)
    assert failures(tmp_path) == [str(tmp_path / "run")]
    forget_failures(tmp_path)
    assert failures(tmp_path) == [] and (tmp_path / "run" / "failure.txt").read_text() == "why\n"


def test_what_was_asked_for_last_comes_last(tmp_path):
    note_asked(tmp_path, ONE)
    note_asked(tmp_path, OTHER)
    note_asked(tmp_path, replace(ONE, fingerprint="3" * 64))
    assert [each.fingerprint[0] for each in read_asked(tmp_path)] == ["2", "3"]


@pytest.mark.parametrize(("key", "value", "first"), [("LOCAL_RANK", "1", False), ("RANK", "0", True), ("", "", True)])
def test_which_process_writes(monkeypatch, key, value, first):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    if key:
        monkeypatch.setenv(key, value)
    assert is_first_process() is first
