"""mmreg-demo from end to end, with a small phantom and a few steps, judged by the files that it leaves."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmreg_lightning.cli.demo import main
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError

SHRUNK = """
import sys
from pathlib import Path
from mmreg_lightning import config
from mmreg_lightning.cli import demo

config.CONF_DIR = Path(sys.argv.pop(1))
demo.PHANTOM = {**demo.PHANTOM, "subjects": 5, "size": (32, 28, 32), "val": 1, "test": 2}
demo.entry()
"""
"""The command with another configuration folder and five small subjects; nothing else is changed."""
METHODS = ("mind_ssc", "learned", "labels")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration, but the experiment that the demonstration trains is the tiny one."""
    folder = tmp_path_factory.mktemp("conf") / "conf"
    shutil.copytree(CONF_DIR, folder)
    shutil.copyfile(folder / "experiment" / "phantom_tiny.yaml", folder / "experiment" / "demo.yaml")
    return folder


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_whole_command_and_again(quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    environment = {**os.environ, "MMREG_CACHE": str(tmp_path / "cache")}

    def run() -> str:
        argv = [sys.executable, "-c", SHRUNK, str(quick), "--out", str(out)]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", env=environment, cwd=tmp_path, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def results() -> dict:
        return json.loads((out / "results.json").read_text(encoding="utf-8"))

    run()
    found = results()
    assert set(found) >= {"before", *METHODS}
    for name in ("before", *METHODS):
        summary = found[name]
        rows = summary["cases"]
        assert len({row["case"] for row in rows}) == len(rows) == 4
        # Two subjects to report on: each MR with the other one's CT, and with its own. Dice is of the pairs of two
        # subjects, TRE of those of one, whose landmarks correspond.
        between = [row for row in rows if not row["same_subject"]]
        within = [row for row in rows if row["same_subject"]]
        assert len(between) == len(within) == 2
        assert summary["dice"] == pytest.approx(sum(row["dice"] for row in between) / 2)
        assert summary["tre_mm"] == pytest.approx(sum(row["tre_mm"] for row in within) / 2)
        for key in ("folds_percent", "seconds"):
            assert summary[key] == pytest.approx(sum(row[key] for row in rows) / 4)
        assert all(0 <= row["dice"] <= 1 and 0 <= row["folds_percent"] <= 100 for row in rows)
        assert all(row["tre_mm"] is None for row in between) and all(row["tre_mm"] > 0 for row in within)
        assert name == "before" or all(0 < row["seconds"] < math.inf for row in rows)
    # The true labels as features are the best that there is.
    assert found["labels"]["dice"] > found["before"]["dice"] + 0.1
    assert found["labels"]["dice"] > max(found["learned"]["dice"], found["mind_ssc"]["dice"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html") and f"{found['labels']['dice']:.3f}"[:4] in page

    assert torch.load(out / "training" / "last.ckpt", weights_only=True)["global_step"] == 8
    finished = stamps(out / "phantom") | stamps(out / "training")
    said = run()
    assert stamps(out / "phantom") | stamps(out / "training") == finished, "neither is made again"
    assert "no training" in said
    again = results()
    assert {name: again[name]["dice"] for name in ("before", *METHODS)} == {
        name: pytest.approx(found[name]["dice"], abs=1e-6) for name in ("before", *METHODS)
    }


def test_results_of_another_command_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("of another")
    with pytest.raises(UserError, match=r"results\.json of"):
        main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "of another"
