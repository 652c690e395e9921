"""mmreg-benchmark: features x solvers and other packages on one data set (a Hydra command)."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import hydra

from mmreg_lightning.cli._app import progress_bar
from mmreg_lightning.cli._hydra import run_hydra, run_job
from mmreg_lightning.config import CONF_DIR

if TYPE_CHECKING:
    from omegaconf import DictConfig


def benchmark(config: DictConfig) -> dict[str, Any]:
    """Run one benchmark as ``config`` (conf/benchmark.yaml) says, or go on with it.

    Returns:
        Content of summary.json.

    Raises:
        UserError: the configuration cannot be used, or the folder holds another benchmark.
    """
    from mmreg_lightning.benchmark.run import run_benchmark, run_robustness_benchmark
    from mmreg_lightning.benchmark.schema import read_benchmark

    settings = read_benchmark(config)
    command = shlex.join(["mmreg-benchmark", *sys.argv[1:]])
    run_one = run_benchmark if settings.get("robustness") is None else run_robustness_benchmark
    with progress_bar("benchmark") as update:
        summary, lines = run_one(settings, command, update)
    print("\n".join(lines))
    return summary


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="benchmark")
def main(config: DictConfig) -> None:
    run_job(lambda: benchmark(config))


def entry() -> None:
    """Console script."""
    run_hydra(main, "benchmark")


if __name__ == "__main__":
    entry()
