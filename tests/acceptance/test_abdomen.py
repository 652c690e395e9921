"""The README's lines on a data set in the form of AbdomenMRCT: train, sweep, benchmark, register, evaluate, submit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from abdomen import CT, MR, TEST, VAL, Abdomen

from mmreg_lightning.cli._app import name_options, run
from mmreg_lightning.cli.calibrate import build_parser as calibrate_parser
from mmreg_lightning.cli.calibrate import main as calibrate
from mmreg_lightning.cli.compare import build_parser as compare_parser
from mmreg_lightning.cli.compare import main as compare
from mmreg_lightning.cli.features import build_parser as features_parser
from mmreg_lightning.cli.features import main as features

PEERS = [f"~peers.{name}" for name in ("convexadam", "ants_syn", "elastix", "greedy")]
SMALL = ["tuning.trials=1", "tuning.pairs=1", "~solvers.adam", "~solvers.convex_adam", "~features.intensity"]


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder, as a user does.

    Attributes:
        folder: where they are run.
    """

    folder: Path

    def __call__(self, command: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The finished command; it must end with ``code``."""
        module = command.removeprefix("mmreg-").replace("-", "_")
        argv = [sys.executable, "-c", f"from mmreg_lightning.cli.{module} import entry; entry()"]
        done = subprocess.run(
            [*argv, *map(str, arguments)], cwd=self.folder, capture_output=True, encoding="utf-8", timeout=600
        )
        assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """In an empty folder."""
    return Shell(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def training(abdomen: Abdomen, shell: Shell) -> list[str]:
    """Overrides of a training of a few steps."""
    own = ["experiment=phantom_tiny", "data=learn2reg", f"data.root={abdomen.root}", "trainer.max_steps=4"]
    return [*own, f"data.cache_dir={shell.folder / 'cache'}"]


@pytest.fixture(scope="module")
def checkpoint(shell: Shell, training: list[str]) -> Path:
    """Of a training of a few steps."""
    shell("mmreg-train", *training, f"hydra.run.dir={shell.folder / 'first'}")
    return shell.folder / "first" / "last.ckpt"


@pytest.mark.slow
def test_a_sweep_of_two_runs_ends_with_its_table(shell: Shell, training: list[str]) -> None:
    done = shell("mmreg-train", "-m", "seed=1,2", *training, f"hydra.sweep.dir={shell.folder / 'sweep'}")
    with open(shell.folder / "sweep" / "sweep.csv", encoding="utf-8", newline="") as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["finished"] * 2
    assert "report.html" in done.stdout


@pytest.mark.slow
def test_a_benchmark_reports_on_the_split_with_labels(shell: Shell, abdomen: Abdomen, checkpoint: Path) -> None:
    own = [f"data.root={abdomen.root}", f"checkpoint={checkpoint}", f"hydra.run.dir={shell.folder / 'benchmark'}"]
    own += [*PEERS, *SMALL]
    done = shell("mmreg-benchmark", *own, code=2)
    assert done.stderr == (
        f"error: {abdomen.path(TEST[0], MR)}: an image without labels, as in 2 of the 2 pairs of the split 'test': "
        "where they are withheld, take tuning.split=train report.split=val\n"
    )
    shell("mmreg-benchmark", *own, "tuning.split=train", "report.split=val")
    with open(shell.folder / "benchmark" / "results.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    methods = ("learned+demons", "mind_ssc+demons", "before")
    assert sorted((row["method"], row["case"]) for row in rows) == sorted(
        (method, f"{n:04d}_to_{n:04d}") for method in methods for n in VAL
    )
    assert all(0 < float(row["dice"]) <= 1 for row in rows)


@pytest.mark.slow
def test_a_submission_of_the_validation_pairs(shell: Shell, abdomen: Abdomen, checkpoint: Path) -> None:
    shell("mmreg-register", "--dataset", abdomen.root, "--split", "val", "--out", "val", "--checkpoint", checkpoint)
    shell("mmreg-evaluate", "--dataset", abdomen.root, "--fields", "val/fields", "--out", "scores", "--split", "val")
    summary = json.loads((shell.folder / "scores" / "summary.json").read_text(encoding="utf-8"))
    assert summary["missing"] == [] and summary["measures"]["dice"]["cases"] == len(VAL)
    assert 0 < summary["measures"]["dice_l2r"]["mean"] <= 1


@pytest.mark.slow
def test_a_submission_of_the_test_pairs(shell: Shell, abdomen: Abdomen, checkpoint: Path) -> None:
    shell("mmreg-register", "--dataset", abdomen.root, "--split", "test", "--out", "test", "--checkpoint", checkpoint)
    for subject in TEST:
        # What Learn2Reg's evaluation opens: characters -16 to -12 of the names of both images, and the first array.
        names = [abdomen.path(subject, modality).name[-16:-12] for modality in (MR, CT)]
        with np.load(shell.folder / "test" / "fields" / f"disp_{names[0]}_{names[1]}.npz") as content:
            assert list(content["arr_0"].shape) == abdomen.content["expected_shape"]
    metrics = json.loads((shell.folder / "test" / "0009_to_0009" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["dice_after"] is None
    done = shell(
        "mmreg-evaluate", "--dataset", abdomen.root, "--fields", "test/fields", "--out", "blind", "--split", "test"
    )
    assert "without labels, scored by what they have: 0009_to_0009, 0010_to_0010\n" in done.stdout


@pytest.mark.parametrize(
    ("main", "build_parser", "own", "options"),
    [
        (compare, compare_parser, ("--checkpoint", "--data"), "--tune train --report val"),
        (calibrate, calibrate_parser, ("--data",), "--split train --report val"),
        (features, features_parser, ("--checkpoint", "--data"), "--probe-split train --split val"),
    ],
    ids=["compare", "calibrate", "features"],
)
def test_withheld_labels_name_the_way_out(
    abdomen: Abdomen, phantom: Path, trained: Path, tmp_path: Path, capsys, main, build_parser, own, options
) -> None:
    given = {"--checkpoint": str(trained), "--data": str(abdomen.root)}
    argv = [word for name in own for word in (name, given[name])] + ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        run(lambda: main(argv), lambda message: name_options(message, build_parser()))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {abdomen.path(TEST[0], MR)}: an image without labels, as in 2 of the 2 pairs of the split 'test': "
        f"where they are withheld, take {options}\n"
    )


@pytest.mark.slow
def test_one_unlabelled_pair_does_not_stop_a_calibration(abdomen: Abdomen, tmp_path: Path, caplog) -> None:
    data = abdomen.copy(tmp_path / "data")
    data.path(VAL[1], CT, "labels").unlink()
    argv = ["--data", str(data.root), "--out", str(tmp_path / "out"), "--variants", "1", "--pairs", "3"]
    argv += ["--split", "train", "--report", "val", "--set", "solver.iterations=2", "solver.levels=[2,1]"]
    calibrate(argv)
    assert f"1 of the 3 pairs of the split 'val', the first for {data.path(VAL[1], CT)}" in caplog.text
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        cases = {row["case"] for row in csv.DictReader(stream) if row["role"] == "test"}
    assert cases == {f"{n:04d}_to_{n:04d}" for n in (VAL[0], VAL[2])}
