"""What a tracked run says about itself."""

from __future__ import annotations

import subprocess

from mmreg_lightning.training.tracking.description import METRICS, git_state, organ_rows


def test_the_table_of_organs():
    cases = [{"organs": {"liver": 0.5, "spleen": float("nan")}}, {"organs": {"liver": 0.75, "spleen": 0.25}}]
    assert organ_rows(cases) == [["liver", 0.625, 0.5, 2], ["spleen", 0.25, 0.25, 1]]


def test_metrics_have_units_and_goals():
    assert METRICS["val/folds_percent"] == ("%", "minimize") and METRICS["val/dice"] == ("1", "maximize")


def test_git_state(tmp_path):
    assert git_state(tmp_path) is None
    (tmp_path / "__init__.py").write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", "-b", "trunk"], check=True)
    assert git_state(tmp_path) is None, "a file that is not the repository's"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    state = git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40
    assert (state["branch"], state["changed"]) == ("trunk", False)
    (tmp_path / "__init__.py").write_text("1")
    assert git_state(tmp_path) == {**state, "changed": True}
