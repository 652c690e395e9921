"""A folder does not mix results of different things."""

from __future__ import annotations

import json
import shutil

import pytest

from mmreg_lightning.benchmark.store import check_same, load, save
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.errors import UserError


def check(folder, settings, pairs=()):
    check_same(folder / "benchmark.json", settings, pairs, "hydra.run.dir", ["checkpoint"])


def test_a_folder_does_not_take_results_of_other_files(pairs_phantom, tmp_path):
    pairs = Learn2RegDataset.read(shutil.copytree(pairs_phantom, tmp_path / "data")).pairs["test"]
    settings = {"checkpoint": None}
    check(tmp_path, settings, pairs[:1])
    check(tmp_path, settings, pairs)
    image = pairs[-1].moving.image
    image.write_bytes(image.read_bytes() + b"0")
    with pytest.raises(UserError, match=f"holds results of .*{image.name} as it was before it changed"):
        check(tmp_path, settings, pairs)


def test_a_folder_does_not_take_results_of_labels_that_meant_something_else(pairs_phantom, tmp_path):
    root = shutil.copytree(pairs_phantom, tmp_path / "data")
    check(tmp_path, {}, Learn2RegDataset.read(root).pairs["test"])
    description = next(root.glob("*_dataset.json"))
    content = json.loads(description.read_text(encoding="utf-8"))
    names = content["labels"]["1"]
    names["1"], names["2"] = names["2"], names["1"]
    description.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"labelsT.*_0001.nii.gz as it was before it changed"):
        check(tmp_path, {}, Learn2RegDataset.read(root).pairs["test"])


def test_a_folder_takes_more_pairs_and_a_checkpoint_but_no_other_tuning(tmp_path):
    base = {"checkpoint": None, "seed": 1, "report": {"split": "test", "pairs": 2}, "tuning": {"pairs": 3, "trials": 4}}
    check(tmp_path, base)
    check(tmp_path, {**base, "report": {"split": "test", "pairs": 20}})
    joined = {**base, "checkpoint": "a.ckpt"}
    check(tmp_path, joined)
    for other in (
        {**joined, "checkpoint": "b.ckpt"},
        {**joined, "report": {"split": "val", "pairs": 2}},
        {**joined, "tuning": {"pairs": 3, "trials": 5}},
    ):
        with pytest.raises(UserError, match="holds results with .*: name another hydra.run.dir"):
            check(tmp_path, other)


def test_only_named_keys_may_join(tmp_path):
    path = tmp_path / "calibration.json"
    check_same(path, {"checkpoint_sha256": None}, [], "folder")
    with pytest.raises(UserError, match="holds results with checkpoint_sha256=None, not ab: name another folder"):
        check_same(path, {"checkpoint_sha256": "ab"}, [], "folder")
    assert json.loads(path.read_text(encoding="utf-8")) == {"checkpoint_sha256": None, "files_sha256": {}}


def test_the_folder_of_another_command_is_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("of another")
    with pytest.raises(UserError, match="holds report.html of another run: name another hydra.run.dir"):
        check(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_content_is_kept_with_its_folder(tmp_path):
    path = tmp_path / "new" / "a.json"
    assert load(path) is None and load(None) is None
    save(path, {"a": 1})
    save(None, {"a": 2})
    assert load(path) == {"a": 1}


def test_what_differs_is_named_to_the_last_key_and_what_was_left_out_stays_known(tmp_path):
    methods = {"a": {"features": {"radius": 1}, "weights": None}, "b": {"features": {"radius": 2}}}
    check(tmp_path, methods)
    check(tmp_path, {"b": methods["b"]})
    other = {"a": {"features": {"radius": 3}, "weights": None}}
    with pytest.raises(UserError, match=r"holds results with a\.features\.radius=1, not 3: name another"):
        check(tmp_path, other)
