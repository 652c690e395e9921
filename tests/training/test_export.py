"""From a checkpoint to a file of weights: what is taken along, and what stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.weights import read_weights
from mmreg_lightning.training.checkpoints import CONFIGURATION
from mmreg_lightning.training.export import export_weights, read_about, without_places

SCRIPT = Path(__file__).parents[2] / "scripts" / "export_weights.py"
ABOUT = "trained_on:\n- {name: phantoms, licence: Apache-2.0}\nmeasures: {sts_mr_ct: {dice: 0.9}}\n"


@pytest.fixture
def about(tmp_path: Path) -> Path:
    path = tmp_path / "about.yaml"
    path.write_text(ABOUT)
    return path


def test_the_solver_is_what_suits_and_places_stay_behind(general: Path, about: Path, tmp_path: Path) -> None:
    stored = torch.load(general, weights_only=True)
    settings = {
        "data": {"root": "/home/somebody/phantom", "cache_dir": "/tmp/x", "spacing": 3.0, "maps": ["/a/heads"]},
        "trainer": {"max_steps": 7, "default_root_dir": "/b"},
        "logger": {"csv": {"save_dir": "/b"}},
        "output_dir": "/b",
    }
    torch.save({**stored, CONFIGURATION: {"settings": settings, "data": "0"}}, tmp_path / "last.ckpt")
    out = tmp_path / "generalist-1.safetensors"
    described = export_weights(tmp_path / "last.ckpt", out, about, overrides=["solver.step.alpha=0.25"])
    told = json.loads(described.read_text(encoding="utf-8"))
    assert told["training"]["configuration"] == {
        "data": {"root": "phantom", "spacing": 3.0, "maps": ["heads"]},
        "trainer": {"max_steps": 7},
    }
    assert told["training"]["steps"] == 0 and told["measures"] == {"sts_mr_ct": {"dice": 0.9}}
    hparams = read_weights(out).hparams
    assert hparams["solver"]["step"]["alpha"] == hparams["descent"]["step"]["alpha"] == 0.25
    assert hparams["spacing"] is None


def test_an_about_that_cannot_be_read(general: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^about=no.yaml: there is no such file$"):
        export_weights(general, tmp_path / "a-1.safetensors", "no.yaml")
    path = tmp_path / "about.yaml"
    for text, expected in (("- one\n", "must hold keys and values"), ("a: [1\n", "while parsing a flow sequence")):
        path.write_text(text)
        with pytest.raises(UserError, match=f"^about={path}: {expected}") as error:
            read_about(path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "a-1.safetensors").exists()


def test_paths_are_known_by_their_beginning() -> None:
    assert without_places({"a": "/x/y", "b": ["c/d", 1, None], "num_workers": 3}) == {"a": "y", "b": ["c/d", 1, None]}


@pytest.mark.slow
def test_the_script(general: Path, about: Path, tmp_path: Path) -> None:
    out = tmp_path / "generalist-1.safetensors"
    command = [sys.executable, str(SCRIPT), str(general), str(out), str(about), "--spacing", "3"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Results: {out} (") and done.stdout.endswith(f" MB), {out.with_suffix('.json')}\n")
    assert read_weights(out).hparams["spacing"] == 3.0
    bad = subprocess.run([*command[:3], str(tmp_path / "x"), str(about)], capture_output=True, encoding="utf-8")
    assert bad.returncode == 2 and bad.stderr.startswith(f"error: out={tmp_path / 'x'}: must be NAME-NUMBER")
