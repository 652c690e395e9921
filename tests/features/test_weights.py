"""Files of weights: what is written comes back, and what is wrong with one is one sentence that names it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.features.weights import description_of, read_weights, write_weights

DATA = {"trained_on": [{"name": "phantoms", "licence": "Apache-2.0"}], "measures": {"dice": 0.5}}


@pytest.fixture
def own(general: Path, tmp_path: Path) -> Path:
    """A file of weights that a test may spoil."""
    path = tmp_path / "generalist-1.safetensors"
    write_weights(path, load_checkpoint(general), DATA, spacing=3.0)
    return path


def rewrite(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights, with the checksum that belongs to them."""
    save_file(weights, path)
    described = json.loads(description_of(path).read_text())
    described["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    description_of(path).write_text(json.dumps(described))


def test_features_are_those_of_the_checkpoint_in_half_precision(general: Path, own: Path) -> None:
    before, after = load_checkpoint(general), read_weights(own)
    for name, value in before.features.state_dict().items():
        assert torch.equal(after.features.state_dict()[name], value.half().float())
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.allclose(after.features(image, "MR"), before.features(image, "MR"), atol=5e-3)
    assert torch.equal(after.features(image, "PET"), after.features(image, "CT")), "any modality, by one stem"
    assert not after.features.training
    assert after.general and after.label_names == {} and after.path == own
    assert {value.dtype for value in load_file(own).values()} == {torch.float16}


def test_the_description_says_what_a_user_must_know(own: Path, general: Path) -> None:
    told = json.loads(description_of(own).read_text(encoding="utf-8"))
    assert told["trained_on"] == DATA["trained_on"] and told["measures"] == {"dice": 0.5}
    assert told["name"] == "generalist-1" and told["precision"] == "float16"
    assert told["parameters"] == sum(value.numel() for value in load_file(own).values())
    assert told["model"]["spacing"] == 3.0 and "label_names" not in told["model"]
    assert told["model"]["descent"]["step"]["alpha"] == load_checkpoint(general).hparams["descent"]["step"]["alpha"]
    assert told["weights_sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()


def test_a_solver_of_its_own_brings_its_step(general: Path, tmp_path: Path) -> None:
    model = load_checkpoint(general)
    step = {**model.hparams["descent"]["step"], "alpha": 0.33}
    path = tmp_path / "generalist-2.safetensors"
    write_weights(path, model, DATA, solver={**model.hparams["solver"], "step": step})
    hparams = read_weights(path).hparams
    assert hparams["solver"]["step"]["alpha"] == hparams["descent"]["step"]["alpha"] == 0.33
    assert hparams["spacing"] is None, "chosen for every fixed image"


@pytest.mark.parametrize(
    ("name", "about", "expected"),
    [
        ("weights.safetensors", DATA, "must be NAME-NUMBER.safetensors, as generalist-1.safetensors$"),
        ("a-1.pt", DATA, "a-1.pt: must be NAME-NUMBER.safetensors"),
        ("a-1.safetensors", {}, "^about: trained_on must list the data"),
        ("a-1.safetensors", {"trained_on": [{"name": "x"}]}, "trained_on must give licence of every entry, not .*x"),
        ("a-1.safetensors", {"trained_on": ["x"]}, "trained_on must give name and licence of every entry, not x"),
        ("a-1.safetensors", {**DATA, "model": {}}, "^about: model is written by the exporter itself"),
    ],
)
def test_what_is_not_exported(general: Path, tmp_path: Path, name: str, about: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        write_weights(tmp_path / name, load_checkpoint(general), about)
    assert list(tmp_path.iterdir()) == []


def test_a_stem_for_each_modality_and_weights_that_do_not_fit_a_half(
    trained: Path, general: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a-1.safetensors"
    with pytest.raises(UserError, match=rf"^checkpoint={trained}: features.stem=modality_specific, but .*stem=shared$"):
        write_weights(path, load_checkpoint(trained), DATA)
    model = load_checkpoint(general)
    next(model.features.parameters()).data[0] = 1e5
    with pytest.raises(UserError, match="its weight stem.* is beyond the range of half precision"):
        write_weights(path, model, DATA)


def test_a_file_that_is_too_large(general: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmreg_lightning.features.weights.LARGEST", 1000)
    with pytest.raises(UserError, match="MB in half precision, a file of weights has at most 0.001 MB"):
        write_weights(tmp_path / "a-1.safetensors", load_checkpoint(general), DATA)


def test_files_that_are_missing_or_damaged(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^weights=no-1.safetensors: there is no such file$"):
        read_weights("no-1.safetensors")
    whole, described = own.read_bytes(), description_of(own).read_text()
    own.write_bytes(whole[:-7])
    with pytest.raises(UserError, match=rf"^features={own}: is damaged or does not belong to generalist-1.json, "):
        read_weights(own, "features")
    rewrite_digest = json.loads(described) | {"weights_sha256": hashlib.sha256(whole[:-7]).hexdigest()}
    description_of(own).write_text(json.dumps(rewrite_digest))
    with pytest.raises(UserError, match=rf"^weights={own}: damaged, or no file of weights$"):
        read_weights(own)
    own.write_bytes(whole)
    for text, expected in (
        ("{", "generalist-1.json is damaged, or describes no weights of this package"),
        ("[]", "generalist-1.json is damaged, or describes no weights of this package"),
        (json.dumps(json.loads(described) | {"format": 2}), "generalist-1.json has format 2, this version reads 1"),
        (json.dumps(json.loads(described) | {"model": {}}), "generalist-1.json lacks model.features"),
    ):
        description_of(own).write_text(text)
        with pytest.raises(UserError, match=f"^weights={own}: {expected}$"):
            read_weights(own)
    description_of(own).unlink()
    with pytest.raises(UserError, match="generalist-1.json, which describes it, does not lie beside it$"):
        read_weights(own)


def test_weights_of_another_shape_or_that_are_not_finite(own: Path) -> None:
    weights = load_file(own)
    name = next(iter(weights))
    rewrite(own, {**weights, name: weights[name][..., :1].contiguous()})
    with pytest.raises(UserError, match=rf"^weights={own}: its weights do not fit the features, {name} has the shape"):
        read_weights(own)
    rewrite(own, {key: value for key, value in weights.items() if key != name})
    with pytest.raises(UserError, match=f"do not fit the features, it lacks {name}$"):
        read_weights(own)
    rewrite(own, {**weights, name: torch.full_like(weights[name], float("nan"))})
    with pytest.raises(UserError, match=rf"^weights={own}: its weights are not finite \({name}\)"):
        read_weights(own)


def test_a_description_cannot_name_a_class_of_just_any_package(own: Path) -> None:
    described = json.loads(description_of(own).read_text())
    described["model"]["features"]["_target_"] = "os.system"
    description_of(own).write_text(json.dumps(described))
    with pytest.raises(UserError, match="names os.system; if you trust the package os"):
        read_weights(own)


def test_reading_needs_neither_lightning_nor_a_network(own: Path) -> None:
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = socket.create_connection = no\n"
        "from mmreg_lightning.registration.settings import Options, resolve\n"
        f"settings = resolve(Options(features={str(own)!r}))\n"
        "print(settings.spacing, sorted({'pytorch_lightning', 'torchio', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (done.stdout.strip(), done.stderr) == ("3.0 []", "")
