"""Names of shipped weights, and every file that holds trained features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.pretrained import (
    WEIGHTS_DIR,
    find_weights,
    load_model,
    names_weights,
    shipped_weights,
)
from mmreg_lightning.features.weights import LARGEST, description_of, read_weights


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A folder of several weights, which are all the same."""
    for name in ("generalist-2", "generalist-10", "brain-11", "generalist-1"):
        shutil.copy(weights, tmp_path / f"{name}.safetensors")
        shutil.copy(description_of(weights), tmp_path / f"{name}.json")
    return tmp_path


def test_pretrained_is_the_newest_generalist(folder: Path) -> None:
    assert list(shipped_weights(folder)) == ["brain-11", "generalist-1", "generalist-2", "generalist-10"]
    assert find_weights("pretrained", "features", folder).name == "generalist-10.safetensors"
    assert find_weights("brain-11", "features", folder) == folder / "brain-11.safetensors"
    assert load_model("generalist-2", "features", folder).path == folder / "generalist-2.safetensors"


def test_an_unknown_name_is_told_the_shipped_ones(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        load_model("generalist-3", "init_from", folder)
    names = "pretrained, brain-11, generalist-1, generalist-2, generalist-10"
    assert str(error.value) == f"init_from=generalist-3: must be one of {names}, or a .safetensors file"


def test_where_nothing_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^features=pretrained: no weights are shipped with this version yet, name a"):
        find_weights("pretrained", "features", tmp_path)
    assert shipped_weights(tmp_path / "missing") == {}


def test_a_file_of_weights_and_a_checkpoint(weights: Path, general: Path, tmp_path: Path) -> None:
    assert load_model(weights, "learned").general
    assert not load_model(general, "learned").general
    with pytest.raises(UserError, match="^learned=no.ckpt: there is no such file$"):
        load_model("no.ckpt", "learned")
    assert names_weights("a/b-1.safetensors") and names_weights("pretrained") and not names_weights("mind_ssc")


def test_what_is_shipped_can_be_read_and_is_described() -> None:
    others = {path.name for path in WEIGHTS_DIR.iterdir()} - {"README.md"}
    assert others == {name for path in shipped_weights().values() for name in (path.name, description_of(path).name)}
    for path in shipped_weights().values():
        assert path.stat().st_size <= LARGEST
        assert read_weights(path).hparams["features"]["stem"] == "shared"
        told = json.loads(description_of(path).read_text(encoding="utf-8"))
        assert told["measures"] and all(entry["licence"] for entry in told["trained_on"])
