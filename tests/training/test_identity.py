"""When two data sets, and when two configurations, are the same."""

from __future__ import annotations

import copy
import json
import os
import shutil

import pytest

from mmreg_lightning.training.identity import data_identity, differences, training_data

SETTINGS = {
    "seed": 1,
    "output_dir": "a",
    "ckpt_path": None,
    "data": {"root": "d", "cache_dir": "c", "spacing": 12.0, "num_workers": 0},
    "optimizer": {"lr": 0.1, "weight_decay": 0.5},
    "regulariser": {"_target_": "Gauss", "sigma": 1.0},
    "descent": {"step": {"regulariser": {"_target_": "Gauss", "sigma": 1.0}}},
    "trainer": {"max_steps": 8, "precision": "32-true"},
    "logger": {"csv": {"save_dir": "a"}},
    "callbacks": {"pictures": {"_target_": "x.PairPictures"}, "ema": {"_target_": "x.AveragedWeights", "decay": 0.5}},
}


def changed(**values):
    settings = copy.deepcopy(SETTINGS)
    for key, value in values.items():
        *parents, name = key.split("__")
        node = settings
        for parent in parents:
            node = node[parent]
        node[name] = value
    return [str(each) for each in differences(SETTINGS, settings)]


def test_what_a_resumed_training_may_change():
    assert changed() == []
    assert changed(output_dir="b", ckpt_path="x", data__root="e", data__cache_dir="f", data__num_workers=3) == []
    assert changed(trainer__max_steps=99, logger={}, callbacks__pictures=None, trainer__max_epochs=3) == []
    assert changed(callbacks__early={"_target_": "pytorch_lightning.callbacks.EarlyStopping"}) == []


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("optimizer__lr", 0.2, "optimizer.lr=0.1 (now 0.2)"),
        ("optimizer__weight_decay", 0, "optimizer.weight_decay=0.5 (now 0)"),
        ("data__spacing", [6, 6, 8], "data.spacing=12.0 (now [6, 6, 8])"),
        ("seed", 2, "seed=1 (now 2)"),
        ("trainer__precision", "bf16-mixed", "trainer.precision=32-true (now bf16-mixed)"),
        ("callbacks__ema__decay", 0.9, "callbacks: ema.decay=0.5 (now 0.9)"),
        ("data__organs", ["liver"], "data.organs=null (now [liver])"),
    ],
)
def test_what_it_may_not(key, value, sentence):
    assert changed(**{key: value}) == [sentence]


def test_a_setting_is_named_once_wherever_it_is_referred_to():
    other = {"_target_": "Diffusion", "weight": 2.0}
    assert changed(regulariser=other, descent__step__regulariser=other) == [
        "regulariser._target_=Gauss (now Diffusion)"
    ]
    sigma = {"_target_": "Gauss", "sigma": 2.0}
    assert changed(regulariser=sigma, descent__step__regulariser=sigma) == ["regulariser.sigma=1.0 (now 2.0)"]


def test_data_are_the_same_wherever_they_lie(phantom, tmp_path):
    copied = tmp_path / "phantom"
    shutil.copytree(phantom, copied, copy_function=shutil.copyfile)  # the times are new ones
    assert data_identity(copied) == data_identity(phantom)


@pytest.mark.parametrize("kind", ["description", "labels", "image", "gone", "large"])
def test_data_that_change(phantom, tmp_path, kind, monkeypatch):
    data = tmp_path / "phantom"
    shutil.copytree(phantom, data)
    if kind == "large":
        monkeypatch.setattr("mmreg_lightning.training.identity._WHOLE", 10)
        monkeypatch.setattr("mmreg_lightning.training.identity._END", 100)
    before = data_identity(data)
    assert data_identity(data) == before
    folder = "imagesTr" if kind == "image" else "labelsTr"
    file = sorted((data / folder).iterdir())[0]
    if kind == "description":
        (description,) = data.glob("*_dataset.json")
        content = json.loads(description.read_text())
        content["description"] = "another"
        description.write_text(json.dumps(content))
    elif kind == "gone":
        file.unlink()
    else:  # of the same size and with the same time
        time, content = file.stat().st_mtime_ns, bytearray(file.read_bytes())
        content[-6] ^= 1
        file.write_bytes(content)
        os.utime(file, ns=(time, time))
    assert data_identity(data) != before


def test_data_that_cannot_be_read_have_an_identity(tmp_path):
    assert data_identity(tmp_path / "a") != data_identity(tmp_path / "b")


def test_label_maps_are_what_the_folders_hold(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "map.nii.gz").write_bytes(b"some labels")
    of_a, of_b, of_both = (
        training_data({"maps": maps})[1]
        for maps in (str(tmp_path / "a"), [str(tmp_path / "b")], [str(tmp_path / "a"), str(tmp_path / "b")])
    )
    assert of_a == of_b != of_both
    assert training_data({"maps": None})[0] == "" and training_data({"maps": None})[1] != of_a
    (tmp_path / "a" / "map.nii.gz").write_bytes(b"other labels")
    assert training_data({"maps": str(tmp_path / "a")}) != (str(tmp_path / "a"), of_a)
    assert training_data({"maps": str(tmp_path / "c")})[1] != training_data({"maps": str(tmp_path / "d")})[1]


def test_a_data_set_is_identified_by_its_root(phantom):
    assert training_data({"root": str(phantom)}) == (str(phantom), data_identity(phantom))
    assert changed(data__maps="x") == []
