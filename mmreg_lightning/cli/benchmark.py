"""mmreg-benchmark: features x solvers and other packages on one data set (a Hydra command)."""

from __future__ import annotations

import csv
import shlex
import sys
from typing import TYPE_CHECKING, Any

import hydra

from mmreg_lightning.cli._app import progress_bar, run, run_hydra
from mmreg_lightning.config import CONF_DIR

if TYPE_CHECKING:
    from omegaconf import DictConfig

# What a benchmark may change between two runs in one folder: everything else would mix unlike numbers.
_FREE = ("features", "solvers", "peers", "output_dir")


def benchmark(config: DictConfig) -> dict[str, Any]:
    """Run one benchmark as ``config`` (conf/benchmark.yaml) says, or go on with it.

    Returns:
        Content of summary.json.

    Raises:
        UserError: the configuration cannot be used, or the folder holds another benchmark.
    """
    from mmreg_lightning.benchmark.facts import check_same, run_facts
    from mmreg_lightning.benchmark.plan import make_plan
    from mmreg_lightning.benchmark.report import write_results
    from mmreg_lightning.benchmark.runner import run_plan
    from mmreg_lightning.benchmark.schema import read_benchmark
    from mmreg_lightning.files import ensure_output_dir
    from mmreg_lightning.reporting.pages import markdown_table

    settings = read_benchmark(config)
    if settings.get("robustness") is not None:
        return _robustness(settings)
    plan = make_plan(settings)
    folder = ensure_output_dir(settings["output_dir"])
    fixed = {key: value for key, value in settings.items() if key not in _FREE}
    check_same(folder, fixed, [*plan.tuning, *plan.reported])
    with progress_bar("benchmark") as update:
        rows, trials = run_plan(plan, folder, update)
    command = shlex.join(["mmreg-benchmark", *sys.argv[1:]])
    summary = write_results(folder, rows, trials, run_facts(plan, settings, command))
    with open(folder / "summary.csv", newline="", encoding="utf-8") as stream:
        print(markdown_table(list(csv.reader(stream))))
    print(f"Results: {folder / 'report.html'}, {folder / 'results.csv'}")
    return summary


def _robustness(settings: dict[str, Any]) -> dict[str, Any]:
    """The same under perturbations, as the group ``robustness`` says."""
    from mmreg_lightning.benchmark.facts import check_same, machine_facts
    from mmreg_lightning.benchmark.robustness_plan import make_robustness_plan
    from mmreg_lightning.benchmark.robustness_report import write_robustness
    from mmreg_lightning.benchmark.robustness_runner import run_robustness
    from mmreg_lightning.files import ensure_output_dir

    plan = make_robustness_plan(settings)
    folder = ensure_output_dir(settings["output_dir"])
    fixed = {key: value for key, value in settings.items() if key not in (*_FREE, "robustness")}
    check_same(folder, fixed, [*plan.benchmark.tuning, *plan.pairs])
    with progress_bar("robustness") as update:
        rows, used = run_robustness(plan, folder, update)
    dataset = plan.benchmark.dataset
    facts = {
        "title": f"Robustness on {dataset.name}",
        "what": f"{dataset.moving_modality} to {dataset.fixed_modality}, {len(plan.pairs)} pairs of the split "
        f"{settings['report']['split']}, with one thing wrong at a time. Every method runs with one setting "
        f"throughout, tuned on unperturbed pairs of the split {settings['tuning']['split']} where none is given.",
        **machine_facts(settings, shlex.join(["mmreg-benchmark", *sys.argv[1:]])),
    }
    summary = write_robustness(folder, plan, rows, used, facts)
    lost = sum("error" in row for row in rows)
    if lost:
        print(f"{lost} registrations gave no result, the page says why; their levels or cases are left out")
    print(f"Results: {folder / 'report.html'}, {folder / 'areas.csv'}")
    return summary


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="benchmark")
def main(config: DictConfig) -> None:
    # The exit is inside, because Hydra adds a line of its own to every exception that passes through it.
    run(lambda: benchmark(config))


def entry() -> None:
    """Console script."""
    run_hydra(main)


if __name__ == "__main__":
    entry()
