"""Which checkpoints a training can go on from."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.cnn import CNNFeatures
from mmreg_lightning.training.checkpoints import (
    StoredConfiguration,
    check_checkpoint,
    check_configuration,
    resumed_from,
)


def test_a_training_from_before_the_network_saw_self_similarity(tmp_path):
    module = torch.nn.ModuleDict({"features": CNNFeatures(["CT"], self_similarity=True)})
    old = tmp_path / "old.ckpt"
    weights = {name: value for name, value in module.state_dict().items() if "descriptors" not in name}
    torch.save({"state_dict": weights, "global_step": 1}, old)
    with pytest.raises(UserError, match="another features.self_similarity"):
        check_checkpoint(str(old), module, 10)


def test_checkpoints_that_cannot_be_resumed(tmp_path):
    module = torch.nn.Linear(2, 2)
    text, other = tmp_path / "text.ckpt", tmp_path / "other.ckpt"
    text.write_text("hello")
    torch.save({"state_dict": torch.nn.Linear(3, 3).state_dict()}, other)
    with pytest.raises(UserError, match="text.ckpt: damaged"):
        check_checkpoint(str(text), module, 10)
    with pytest.raises(UserError, match="other.ckpt: its weights do not fit"):
        check_checkpoint(str(other), module, 10)
    check_checkpoint(None, module, 10)
    done = tmp_path / "done.ckpt"
    torch.save({"state_dict": module.state_dict(), "global_step": 10}, done)
    check_checkpoint(str(done), module, 11)
    with pytest.raises(UserError, match="done.ckpt: has done 10 steps already, trainer.max_steps=10"):
        check_checkpoint(str(done), module, 10)


def test_weights_that_cannot_be_resumed_are_named(tmp_path):
    module = torch.nn.ModuleDict({"features": CNNFeatures(["CT"], self_similarity=True)})
    path = tmp_path / "other.ckpt"
    weights = module.state_dict()
    weights["features.descriptor.bias"] = weights.pop("features.descriptors.bias")
    torch.save({"state_dict": weights, "global_step": 1}, path)
    sentence = "other.ckpt: .* it lacks features.descriptors.bias and has features.descriptor.bias; repeat"
    with pytest.raises(UserError, match=sentence):
        check_checkpoint(str(path), module, 10)
    spoilt = {name: value * float("nan") for name, value in module.state_dict().items()}
    torch.save({"state_dict": spoilt, "global_step": 1}, path)
    with pytest.raises(UserError, match="other.ckpt: its weights are not finite"):
        check_checkpoint(str(path), module, 10)


SETTINGS = {
    "resume": None,
    "data": {"root": "d"},
    "optimizer": {"lr": 0.1, "weight_decay": 0.5},
    "trainer": {"max_steps": 8},
    "callbacks": {},
}


def resumable(folder, settings, data="same"):
    checkpoint = {"state_dict": {}, "global_step": 1}
    StoredConfiguration(settings, data).on_save_checkpoint(None, None, checkpoint)
    torch.save(checkpoint, folder / "last.ckpt")
    return str(folder / "last.ckpt")


def other(**optimizer):
    return {**SETTINGS, "optimizer": {**SETTINGS["optimizer"], **optimizer}}


def test_what_a_training_is_resumed_with(tmp_path):
    path = resumable(tmp_path, SETTINGS)
    assert check_configuration(None, SETTINGS, "same") == ("", None)
    assert check_configuration(path, SETTINGS, "same") == ("", None)
    longer = {**SETTINGS, "trainer": {"max_steps": 99}, "data": {"root": "elsewhere"}}
    assert check_configuration(path, longer, "same") == ("", None)
    note, rate = check_configuration(path, {**other(lr=0.2), "resume": "override"}, "same")
    assert (note, rate) == ("resumed with optimizer.lr=0.2 in place of 0.1", 0.2)


@pytest.mark.parametrize(
    ("settings", "data", "sentence"),
    [
        (other(lr=0.2), "same", "was trained with optimizer.lr=0.1 (now 0.2); resume=override takes the new one"),
        (
            {**other(lr=0.2, weight_decay=0), "resume": "override"},
            "same",
            "was trained with optimizer.weight_decay=0.5 (now 0); repeat its settings, or use init_from",
        ),
        (SETTINGS, "changed", "was trained with other data (data.root=d, now data.root=d: files or labels changed)"),
        (other(**{f"x{n}": n for n in range(5)}), "same", " and 2 more settings; repeat"),
    ],
)
def test_what_a_training_is_not_resumed_with(tmp_path, settings, data, sentence):
    path = resumable(tmp_path, SETTINGS)
    with pytest.raises(UserError) as caught:
        check_configuration(path, settings, data)
    assert str(caught.value).startswith(f"ckpt_path={path}: ") and sentence in str(caught.value)


def test_a_wrong_choice_for_resume():
    with pytest.raises(UserError, match="^resume=yes: must be null or override$"):
        check_configuration(None, {**SETTINGS, "resume": "yes"}, "same")


def test_a_checkpoint_from_before_configurations_were_stored(tmp_path):
    torch.save({"state_dict": {}, "global_step": 1}, tmp_path / "old.ckpt")
    note, rate = check_configuration(str(tmp_path / "old.ckpt"), other(lr=9), "same")
    assert note.endswith("old.ckpt does not hold its configuration, which cannot be compared with this one")
    assert rate is None
    (tmp_path / "text.ckpt").write_text("hello")
    for name in ("text.ckpt", "nowhere.ckpt"):  # ``check_checkpoint`` says what is wrong
        assert check_configuration(str(tmp_path / name), SETTINGS, "same")[1] is None


def test_which_checkpoint_is_meant(tmp_path):
    last = str(tmp_path / "last.ckpt")
    assert resumed_from(None, tmp_path) is None and resumed_from("a.ckpt", tmp_path) == "a.ckpt"
    assert resumed_from("last", tmp_path) == last and resumed_from("auto", tmp_path) is None
    (tmp_path / "last.ckpt").touch()
    assert resumed_from("auto", tmp_path) == last
