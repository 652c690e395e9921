"""Which weights of another training a training can begin with."""

from __future__ import annotations

import re

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.weights import read_weights
from mmreg_lightning.training.initial_weights import initialise
from mmreg_lightning.training.module import DescentModule


@pytest.fixture
def build():
    """A module with so many output channels, for these organs and modalities."""

    def make(organs, channels=6, modalities=("MR", "CT"), features="cnn", overrides=()):
        chosen = [f"features={features}", f"features.channels={channels}", "solver.iterations=1", "data.root=x"]
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
            config = compose("train", overrides=[*chosen, *overrides])
        groups = ("features", "descent", "loss", "training", "optimizer", "solver")
        return DescentModule(
            **{group: OmegaConf.to_container(config[group], resolve=True) for group in groups},
            modalities=list(modalities),
            label_names=dict(enumerate(organs, start=1)),
            normalisation={},
            spacing=12.0,
        )

    return make


def saved(module, path):
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, path)
    return str(path)


@pytest.mark.parametrize("features", ["cnn", "unet"])
def test_a_training_that_begins_with_weights(build, tmp_path, features):
    old = build(["liver", "spleen"], features=features)
    path = saved(old, tmp_path / "old.ckpt")
    new = build(["liver", "spleen"], features=features)
    assert initialise(path, new) == f"init_from={path}: weights taken"
    assert all(torch.equal(new.state_dict()[name], value) for name, value in old.state_dict().items())
    # Channel 1 is the spleen's, and channels from the third on are those of no organ.
    other = build(["spleen", "kidney", "liver"], 7, ("MR", "US"), features)
    note = initialise(path, other)
    head = next(name for name in reversed(old.state_dict()) if name.endswith("weight"))
    for row, old_row in ((0, 1), (2, 0), (3, 2), (6, 5)):
        assert torch.equal(other.state_dict()[head][row], old.state_dict()[head][old_row])
    assert "output channels that begin afresh: kidney" in note and "\n" not in note
    assert re.search(r"begins afresh: features\.stem\.\S*US\S*", note) and re.search(r"not used: .*CT", note)


def test_weights_that_a_training_cannot_begin_with(build, tmp_path):
    module = build(["liver"])
    with pytest.raises(UserError, match="^init_from=nowhere.ckpt: there is no such file$"):
        initialise("nowhere.ckpt", module)
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="text.ckpt: damaged, or no checkpoint of mmreg-train"):
        initialise(str(tmp_path / "text.ckpt"), module)
    broken = build(["liver"])
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="its weights are not finite numbers"):
        initialise(saved(broken, tmp_path / "nan.ckpt"), module)


def test_a_training_that_begins_with_weights_of_any_modality(build, weights):
    shape = ["features.width=4", "features.depth=1"]
    new = build(["liver"], 16, overrides=[*shape, "features.stem=shared"])
    trained = read_weights(weights).features.state_dict()
    head = "layers.1"
    note = initialise(str(weights), new)
    assert note == f"init_from={weights}: weights taken; output channels that begin afresh: liver"
    for name, value in trained.items():
        own = new.features.state_dict()[name]
        assert torch.equal(own[1:], value[:-1]) if name.startswith(head) else torch.equal(own, value)
    each = build(["liver"], 16, overrides=shape)
    note = initialise(str(weights), each)
    assert "; the stem of every modality begins as the shared one; " in note and "not used" not in note
    for modality in ("MR", "CT"):
        name = "stem.branches.{}.0.0.weight"
        assert torch.equal(each.features.state_dict()[name.format(modality)], trained[name.format("all")])


def test_a_network_of_another_shape_is_told_the_right_one(build, weights):
    note = initialise(str(weights), build(["liver"], 16, overrides=["features.depth=1"]))
    assert "begins afresh: " in note and "(its network has features.width=4)" in note


def test_shipped_weights_that_are_not_there(build):
    with pytest.raises(UserError, match="^init_from=a-1.safetensors: there is no such file$"):
        initialise("a-1.safetensors", build(["liver"]))
