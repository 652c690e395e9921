"""A search of Optuna's, through its Hydra sweeper."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mmreg_lightning.training.sweep.collect import read_sweep

TRAIN = str(Path(__file__).resolve().parents[2] / "scripts" / "train.py")
INSTALLED = importlib.util.find_spec("optuna") is not None
# Hydra finds its plugins in this package: an empty one hides those that are installed.
WITHOUT = "import sys, types; empty = types.ModuleType('hydra_plugins'); empty.__path__ = [];"
WITHOUT += "sys.modules['hydra_plugins'] = empty;"


def search(phantom, cache_dir, folder, *overrides):
    argv = [sys.executable, TRAIN, "sweep=optuna", "experiment=phantom_tiny", f"data.root={phantom}"]
    argv += [f"data.cache_dir={cache_dir}", "trainer.max_steps=2", "hydra.sweeper.n_trials=3", *overrides]
    return subprocess.run([*argv, f"hydra.sweep.dir={folder}"], capture_output=True, encoding="utf-8", timeout=600)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="is in the extra optuna")
def test_the_best_of_three_trials_is_found_and_none_is_trained_twice(phantom, cache_dir, tmp_path):
    done = search(phantom, cache_dir, tmp_path / "search")
    assert done.returncode == 0, done.stderr
    runs = read_sweep(tmp_path / "search")
    assert [run.status for run in runs] == ["finished"] * 3
    best = max(runs, key=lambda run: run.record.metrics["val/dice"])
    found = OmegaConf.load(tmp_path / "search" / "optimization_results.yaml")
    assert found.best_value == pytest.approx(best.record.metrics["val/dice"])
    for key in ("optimizer.lr", "descent.step.alpha"):
        assert float(best.values[key]) == pytest.approx(found.best_params[key])
    assert 0.001 <= found.best_params["optimizer.lr"] <= 0.02
    assert len({run.values["optimizer.lr"] for run in runs}) == 3
    again = search(phantom, cache_dir, tmp_path / "search")
    assert again.returncode == 0 and again.stdout.count("finished before: ") == 3


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="is in the extra optuna")
def test_failed_trials_do_not_end_the_study(phantom, cache_dir, tmp_path):
    # The second choice needs more feature channels than there are.
    done = search(phantom, cache_dir, tmp_path / "some", "features.channels=choice(16,3)")
    assert done.returncode == 0, done.stderr
    statuses = {run.status for run in read_sweep(tmp_path / "some")}
    assert statuses == {"finished", "failed"}
    done = search(phantom, cache_dir, tmp_path / "none", "features.channels=3")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: no training of the study finished")


@pytest.mark.parametrize(
    ("override", "extra"), [("sweep=optuna", "optuna"), ("hydra/launcher=submitit_slurm", "sweep")]
)
def test_a_missing_plugin_names_its_extra(override, extra, tmp_path):
    code = f"{WITHOUT} sys.argv = ['mmreg-train', '-m', '{override}', 'hydra.sweep.dir={tmp_path}'];"
    code += "from mmreg_lightning.cli.train import entry; entry()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"needs the extra {extra}: pip install" in done.stderr
