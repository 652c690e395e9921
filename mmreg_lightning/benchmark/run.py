"""A whole benchmark in a folder: plan, check, run and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.facts import check_same, machine_facts, run_facts
from mmreg_lightning.benchmark.plan import Progress, make_plan
from mmreg_lightning.benchmark.report import write_results
from mmreg_lightning.benchmark.robustness import make_robustness_plan, run_robustness
from mmreg_lightning.benchmark.robustness_report import write_robustness
from mmreg_lightning.benchmark.runner import run_plan
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.reporting.pages import markdown_table

# What a benchmark may change between two runs in one folder: everything else would mix unlike numbers.
_FREE = ("features", "solvers", "peers", "output_dir")
Settings = Mapping[str, Any]


def run_benchmark(settings: Settings, command: str, progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """Features x solvers and other packages, see ``run_plan`` and ``write_results``.

    Args:
        settings: conf/benchmark.yaml, plain types.
        command: the command line, for the report.
        progress: told of every registration.

    Returns:
        Content of summary.json, and the lines to print.

    Raises:
        UserError: a setting cannot be used, or the folder holds another benchmark.
    """
    plan = make_plan(settings)
    folder = _folder(settings, _FREE, [*plan.tuning, *(case.files for case in plan.cases)])
    rows, trials = run_plan(plan, folder, progress)
    summary, table = write_results(folder, rows, trials, run_facts(plan, settings, command))
    return summary, [markdown_table(table), f"Results: {folder / 'report.html'}, {folder / 'results.csv'}"]


def run_robustness_benchmark(settings: Settings, command: str, progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """The same over perturbed pairs, as the group ``robustness`` says; see ``run_robustness``.

    Args:
        settings, command, progress: as of ``run_benchmark``.

    Returns:
        Content of summary.json, and the lines to print.

    Raises:
        UserError: a setting cannot be used, or the folder holds another benchmark.
    """
    plan = make_robustness_plan(settings)
    folder = _folder(settings, (*_FREE, "robustness"), [*plan.benchmark.tuning, *plan.pairs])
    rows, used = run_robustness(plan, folder, progress)
    dataset = plan.benchmark.dataset
    facts = {
        "title": f"Robustness on {dataset.name}",
        "what": f"{dataset.moving_modality} to {dataset.fixed_modality}, {len(plan.pairs)} pairs of the split "
        f"{settings['report']['split']}, with one thing wrong at a time. Every method runs with one setting "
        f"throughout, tuned on unperturbed pairs of the split {settings['tuning']['split']} where none is given.",
        **machine_facts(settings, command),
    }
    summary = write_robustness(folder, plan, rows, used, facts)
    lines = [f"Results: {folder / 'report.html'}, {folder / 'areas.csv'}"]
    lost = sum("error" in row for row in rows)
    if lost:
        lines.insert(0, f"{lost} registrations gave no result, the page says why; their levels or cases are left out")
    return summary, lines


def _folder(settings: Settings, free: Sequence[str], pairs: Sequence[Pair[ImageFiles]]) -> Path:
    folder = ensure_output_dir(settings["output_dir"])
    check_same(folder, {key: value for key, value in settings.items() if key not in free}, pairs)
    return folder
