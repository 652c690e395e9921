"""What a training refuses before it begins, and what it tells a search."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.run import check_unclipped, objective, prepare_output


def test_what_a_search_is_told():
    config = OmegaConf.create({"objective": "val/dice"})
    assert objective(config, {"val/dice": 0.5, "val/cosine": 0.1}) == 0.5
    assert objective(config, {}) is None, "a training that failed"
    assert objective(config, {"val/dice": float("nan")}) is None
    with pytest.raises(UserError, match="objective=val/dice: not among the metrics of a training, train/loss"):
        objective(config, {"train/loss": 0.5})


def test_descriptors_need_recipes_that_do_not_clip():
    check_unclipped({"CT": {"kind": "window", "low": 0, "high": 1, "clip": False}})
    for clips in ({"clip": True}, {}):
        with pytest.raises(UserError, match="data.normalisation.MR={.*needs 'clip: false'"):
            check_unclipped({"CT": {"clip": False}, "MR": {"kind": "window", "low": 0, "high": 1, **clips}})


def test_a_folder_that_holds_a_training_is_resumed_or_left_alone(tmp_path):
    assert prepare_output(str(tmp_path / "out"), None) == tmp_path / "out"
    (tmp_path / "out" / "last.ckpt").touch()
    for number in (1, 2):
        (tmp_path / "out" / "metrics.csv").write_text(str(number))
        prepare_output(str(tmp_path / "out"), "last.ckpt")
        assert (tmp_path / "out" / f"metrics_before_{number}.csv").read_text() == str(number)
    with pytest.raises(UserError, match="out holds a training already: name another hydra.run.dir"):
        prepare_output(str(tmp_path / "out"), None)
