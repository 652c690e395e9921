"""Checkpoints: what is read, and what is refused with the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import load_checkpoint, load_weights
from mmreg_lightning.features.cnn import CNNFeatures


def write(path: Path, target: str = "mmreg_lightning.features.cnn.CNNFeatures", **features: Any) -> CNNFeatures:
    """A checkpoint of small features for MR and CT, and those features."""
    settings: dict[str, Any] = {"channels": 3, "width": 4, "depth": 1, **features}
    built = CNNFeatures(["MR", "CT"], **{**settings, "norm": "instance"})
    hparams = {
        "features": {"_target_": target, **settings},
        "modalities": ["MR", "CT"],
        "label_names": {"1": "liver", "4": "left kidney"},
    }
    state = {f"features.{name}": value for name, value in built.state_dict().items()}
    torch.save({"state_dict": {**state, "other": torch.zeros(2)}, "hyper_parameters": hparams}, path)
    return built


def test_features_come_back_in_evaluation_mode(tmp_path: Path) -> None:
    built = write(tmp_path / "a.ckpt")
    model = load_checkpoint(tmp_path / "a.ckpt")
    image = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(model.features(image, "CT"), built.eval()(image, "CT"))
    assert not model.features.training
    assert model.modalities == ("MR", "CT")
    assert model.label_names == {1: "liver", 4: "left kidney"}


def test_a_package_must_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.ckpt", target="elsewhere.Features")
    sentence = r"a.ckpt: names elsewhere.Features; if you trust the package elsewhere, set MMREG_TRUST=elsewhere"
    with pytest.raises(UserError, match=sentence):
        load_checkpoint(tmp_path / "a.ckpt")
    monkeypatch.setenv("MMREG_TRUST", "elsewhere")
    with pytest.raises(UserError, match="a.ckpt: .*elsewhere") as refused:  # trusted, but not installed
        load_checkpoint(tmp_path / "a.ckpt")
    assert "MMREG_TRUST" not in str(refused.value)


def test_a_setting_that_features_refuse_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.ckpt", norm="batch")
    with pytest.raises(UserError, match=r"a.ckpt: features.norm='batch': must be"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.ckpt: there is no such file"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "weights.ckpt")
    write(tmp_path / "cut.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "cut.ckpt").read_bytes()[:500])
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("weights", "cut", "text"):
        with pytest.raises(UserError, match=f"{name}.ckpt: damaged, or no checkpoint of mmreg-train"):
            load_checkpoint(tmp_path / f"{name}.ckpt")


def change(path: Path, rename: dict[str, str], values: dict[str, float]) -> None:
    """Rename weights of a checkpoint, and fill some with a value."""
    checkpoint = torch.load(path, weights_only=True)
    weights = {rename.get(name, name): tensor for name, tensor in checkpoint["state_dict"].items()}
    for name, value in values.items():
        weights[name][...] = value
    torch.save({**checkpoint, "state_dict": weights}, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    built = write(tmp_path / "a.ckpt")
    name = f"features.{next(iter(built.state_dict()))}"
    change(tmp_path / "a.ckpt", {}, {name: value})
    sentence = rf"a.ckpt: its weights are not finite \({name.removeprefix('features.')}\), the training .* has diverged"
    with pytest.raises(UserError, match=sentence):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_renamed_weight_is_named(tmp_path: Path) -> None:
    built = write(tmp_path / "a.ckpt", self_similarity=True)
    change(tmp_path / "a.ckpt", {"features.descriptors.weight": "features.descriptor.weight"}, {})
    sentence = "a.ckpt: its weights do not fit the features, it lacks descriptors.weight and has descriptor.weight$"
    with pytest.raises(UserError, match=sentence):
        load_checkpoint(tmp_path / "a.ckpt")
    weights = {name: torch.zeros(1) if name == "descriptors.bias" else v for name, v in built.state_dict().items()}
    with pytest.raises(UserError, match=r"descriptors.bias has the shape \(1,\) instead of \(4,\)"):
        load_weights(built, weights)
