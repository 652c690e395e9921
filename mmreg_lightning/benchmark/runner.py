"""Running a benchmark's plan; every finished registration is on disk, so a stopped benchmark goes on from there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmreg_lightning.benchmark.methods import Method, Outcome
from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row
from mmreg_lightning.benchmark.store import load, save
from mmreg_lightning.benchmark.tuning import tune
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.measures import evaluate

STILL = {"folds_percent": 0.0, "sdlogj": 0.0}
"""Measures of the field that moves nothing."""


class Cell(NamedTuple):
    """One registration of a benchmark.

    ``trial`` is the method's best one, whose ``setting`` is used; its ``error``, if it has one, becomes the row.
    ``path`` keeps the row.
    """

    case: Case
    method: Method
    trial: Row
    path: Path


def run_plan(plan: Plan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, list[Row]]]:
    """Tune every method, then register every case with its best setting.

    Args:
        plan: what to do.
        folder: gets ``tuning/METHOD.json`` (one entry a trial) and ``cases/METHOD/CASE.json``.
        progress: called for every registration.

    Returns:
        A row a case and method, ``before`` included; and the trials of each method, the one used first.

    Raises:
        UserError: every trial of every method failed.
    """
    trials = tune(plan, folder, progress)
    if all("error" in own[0] for own in trials.values()):
        name, (first, *_) = next(iter(trials.items()))
        raise UserError(f"every trial of every method failed, the first of {name} with: {first['error']}")

    def measure(pair: Pair[Image], found: Outcome) -> Row:
        seconds = {f"seconds_{stage}": value for stage, value in found.seconds.items()}
        measures = evaluate(pair, found.displacement, plan.dataset.label_names)
        return {**measures, **seconds, "peak_memory_mb": found.peak_memory_mb}

    cells = [
        Cell(case, method, trials[method.name][0], folder / "cases" / method.name / f"{case.files.name}.json")
        for case in plan.cases
        for method in plan.methods
    ]
    found = run_cells(plan, cells, measure, progress)
    registered = [{"case": cell.case.files.name, "method": cell.method.name, **row} for cell, row in found]
    rows: list[Row] = []
    for _, group in itertools.groupby(registered, key=lambda row: row["case"]):
        rows += (own := list(group))
        if measured := [row for row in own if row.get("dice_before") is not None]:
            key, before = {"case": own[0]["case"], "method": "before"}, measured[0]
            rows.append({**key, "dice": before["dice_before"], "tre_mm": before["tre_mm_before"], **STILL})
    return rows, trials


def run_cells(
    plan: Plan, cells: Sequence[Cell], measure: Callable[[Pair[Image], Outcome], Row], progress: Progress
) -> Iterator[tuple[Cell, Row]]:
    """Register and measure every cell whose row is not on disk yet.

    A method that fails gives a row with its ``error``.

    Args:
        plan: seed and organs of perturbations.
        cells: those of one pair, and of one case, should follow each other, so that its files are read once.
        measure: one registration.
        progress: called for every cell.

    Raises:
        UserError: a file of a pair cannot be read.
    """

    @lru_cache(maxsize=1)
    def read(files: Pair[ImageFiles]) -> Pair[Image]:
        return files.read()

    @lru_cache(maxsize=1)
    def images(case: Case) -> Pair[Image]:
        return case.changed(read(case.files), plan.seed, plan.dataset.label_names)

    for done, cell in enumerate(cells):
        case, method, trial, path = cell
        progress(f"{method.name}, {case.files.name}", done, len(cells))
        if "error" in trial:  # every trial failed: the report says so, the other methods go on
            yield cell, {"error": trial["error"]}
            continue
        organs = [] if case.perturbation is None else list(case.perturbation.organs)
        declared = {"setting": dict(trial["setting"]), "seed": plan.seed, "organs": organs}
        known = load(path)
        if known is None or known.get("declared") != declared:
            read(case.files)
            try:
                pair = images(case)
                row = measure(pair, method(case.files, pair, trial["setting"]))
            except (PeerError, UserError) as error:
                row = {"error": str(error)}
            known = {"declared": declared, "row": row}
            save(path, known)
        yield cell, known["row"]
    progress("done", len(cells), len(cells))
