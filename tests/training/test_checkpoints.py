"""Which checkpoints a training can go on from."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.cnn import CNNFeatures
from mmreg_lightning.training.checkpoints import check_checkpoint


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
