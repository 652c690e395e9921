"""A training that is refused before its first step leaves its folder as it was."""

from __future__ import annotations

import os

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.refusal import as_it_was


@pytest.fixture
def used(tmp_path):
    """A folder with an earlier training, that of a year ago."""
    for name in ("config.yaml", "metrics.csv", "metrics_before_1.csv", "last.ckpt", "mine.txt"):
        (tmp_path / name).write_text(f"old {name}")
        os.utime(tmp_path / name, (1e9, 1e9))
    return tmp_path


def state(folder):
    return {path.name: (path.read_text(), path.stat().st_mtime) for path in folder.iterdir()}


def begin(folder):
    """What a training does before its first step."""
    (folder / "metrics.csv").rename(folder / "metrics_before_2.csv")
    for name in ("config.yaml", "identity.json", "hparams.yaml", "metrics.csv", "wandb_run_id.txt"):
        (folder / name).write_text("new")
    (folder / "wandb" / "run").mkdir(parents=True)


def test_what_was_there_is_there_again(used):
    before = state(used)
    with pytest.raises(UserError, match="why"), as_it_was(used, lambda: False):
        begin(used)
        raise UserError("why")
    assert state(used) == before


@pytest.mark.parametrize(("begun", "error"), [(True, UserError), (False, KeyboardInterrupt), (False, RuntimeError)])
def test_a_training_under_way_and_a_defect_leave_what_they_wrote(used, begun, error):
    with pytest.raises(error), as_it_was(used, lambda: begun):
        begin(used)
        raise error("why")
    assert (used / "config.yaml").read_text() == "new" and (used / "metrics_before_2.csv").exists()
