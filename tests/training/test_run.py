"""What a training refuses before it begins, and what it doubts when it ends."""

from __future__ import annotations

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.run import check_unclipped, doubts, prepare_output


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


def test_features_that_make_pairs_worse_are_doubted():
    (sentence,) = doubts({"val/dice_before": 0.5, "val/dice": 0.494})
    assert sentence.startswith("the last validation's Dice is 0.494 after registration and 0.500 before it: these")
    assert doubts({"val/dice_before": 0.5, "val/dice": 0.4996}) == doubts({}) == []
