"""Running a benchmark's plan; everything finished is on disk, so a stopped benchmark goes on where it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import Method, Setting
from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row
from mmreg_lightning.benchmark.tuning import load, save, tune
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.data.perturbed import perturb
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.measures import evaluate

Measure = Callable[[Method, Case, Pair[Image], Setting], Row]
"""Registers a case by a method with a setting, and measures it."""
Cell = tuple[Case, str, Path]
"""A case, the name of a method, and the file that keeps the row."""


def run_plan(plan: Plan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, list[Row]]]:
    """Tune every method, then register every case with each one's best setting.

    Args:
        plan: what to do.
        folder: gets ``tuning/METHOD.json`` (one entry a trial) and ``cases/METHOD/CASE.json``.
        progress: told of every registration.

    Returns:
        A row a case and method, ``before`` included; and the trials of each method, the one used first.

    Raises:
        UserError: every trial of every method failed.
    """
    trials = tune(plan, folder, progress, plan.methods)
    best = {name: own[0] for name, own in trials.items()}
    if all("error" in trial for trial in best.values()):
        first = plan.methods[0].name
        raise UserError(f"every trial of every method failed, the first of {first} with: {best[first]['error']}")
    methods: dict[str, Method] = {m.name: m for m in plan.methods}
    cells = [
        (case, name, folder / "cases" / name / f"{case.files.name}.json") for case in plan.cases for name in methods
    ]

    def measure(method: Method, case: Case, pair: Pair[Image], setting: Setting) -> Row:
        found = method(case.files, pair, setting)
        seconds = {f"seconds_{stage}": value for stage, value in found.seconds.items()}
        measures = evaluate(pair, found.displacement, plan.label_names)
        return {**measures, **seconds, "peak_memory_mb": found.peak_memory_mb}

    rows: list[Row] = []
    for (case, name, _), row in run_cells(plan, cells, methods, best, measure, progress):
        rows.append({"case": case.files.name, "method": name, **row})
        if name == plan.methods[-1].name:
            rows += _before(rows[-len(methods) :])
    return rows, trials


def run_cells(
    plan: Plan,
    cells: list[Cell],
    methods: Mapping[str, Method],
    best: Mapping[str, Row],
    measure: Measure,
    progress: Progress,
) -> Iterator[tuple[Cell, Row]]:
    """Register and measure every cell whose row is not on disk yet.

    Args:
        plan: seed and organs of perturbations.
        cells: cases of one pair should follow each other, so that its files are read once.
        methods: by the names of the cells.
        best: trial of each method whose ``setting`` is used; one with an ``error`` gives that as the row.
        measure: what is done; its errors become the row, and the next cell is begun.
        progress: told of every cell.
    """
    read: tuple[str, Pair[Image]] | None = None
    changed: tuple[Case, Pair[Image]] | None = None
    for done, cell in enumerate(cells):
        case, name, path = cell
        progress(f"{name}, {case.files.name}", done, len(cells))
        if "error" in best[name]:  # every trial failed: the report says so, the other methods go on
            yield cell, {"error": best[name]["error"]}
            continue
        setting = best[name]["setting"]
        organs = list(case.perturbation.organs) if case.perturbation is not None and case.level else []
        declared = {"setting": dict(setting), "seed": plan.seed, "organs": organs}
        known = load(path)
        if known is None or known.get("declared") != declared:
            if read is None or read[0] != case.files.name:
                read = (case.files.name, case.files.read())
            try:
                if changed is None or changed[0] is not case:
                    changed = (case, _changed(plan, case, read[1]))
                row = measure(methods[name], case, changed[1], setting)
            except (PeerError, UserError) as error:
                row = {"error": str(error)}
            known = {"declared": declared, "row": row}
            save(path, known)
        yield cell, known["row"]
    progress("done", len(cells), len(cells))


def _changed(plan: Plan, case: Case, pair: Pair[Image]) -> Pair[Image]:
    if case.perturbation is None:
        return pair
    return perturb(pair, case.perturbation, case.level, case.files.name, plan.seed, plan.label_names)


def _before(rows: list[Row]) -> list[Row]:
    """The row ``before`` of a case, from the first method that measured it."""
    for row in rows:
        if row.get("dice_before") is not None:
            still: dict[str, Any] = {"folds_percent": 0.0, "sdlogj": 0.0}
            return [
                {
                    "case": row["case"],
                    "method": "before",
                    "dice": row["dice_before"],
                    "tre_mm": row["tre_mm_before"],
                    **still,
                }
            ]
    return []
