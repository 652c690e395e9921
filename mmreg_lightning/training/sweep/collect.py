"""The runs of a sweep, read from their folders and put together by what was varied."""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.sweep.record import FAILURE, RunRecord, read_record, run_id

Status = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True)
class SweepRun:
    """One training.

    Attributes:
        folder: of the run.
        status: ``unfinished`` is still going, or was killed.
        values: overrides of this run, by key.
        record: of a finished one.
        message: of a failed one.
        wandb_run: id of its W&B run, whose group is the name of the sweep's folder; None where the logger was off.
    """

    folder: Path
    status: Status
    values: dict[str, str]
    record: RunRecord | None = None
    message: str = ""
    wandb_run: str | None = None


@dataclass(frozen=True)
class SweepPoint:
    """All runs that differ in nothing but the seed.

    Attributes:
        values: what was varied, by key; the seed is not among it.
        runs: finished ones, in order of their seeds.
    """

    values: dict[str, str]
    runs: list[SweepRun] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As a row of a table calls it."""
        return ", ".join(f"{key}={_short(value)}" for key, value in self.values.items()) or "the only setting"

    def metric(self, name: str) -> list[float]:
        """One value a run."""
        values = [run.record.metrics.get(name, math.nan) for run in self.runs if run.record is not None]
        return [value for value in values if value is not None and not math.isnan(value)]

    def mean_and_deviation(self, name: str) -> tuple[float, float] | None:
        """Over the seeds; the deviation is that of a sample, NaN for a single run."""
        values = self.metric(name)
        if not values:
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan

    def cases(self, measure: str) -> dict[tuple[str, str], float]:
        """(seed, validation pair) -> value."""
        out = {}
        for run in self.runs:
            for case in run.record.cases if run.record is not None else ():
                if case.get(measure) is not None:
                    out[run.values.get("seed", ""), str(case["case"])] = float(case[measure])
        return out


def read_sweep(folder: Path) -> list[SweepRun]:
    """All runs of a multirun, finished or not, in the order in which they were launched.

    Raises:
        UserError: there are none.
    """
    overrides = sorted(folder.glob("*/.hydra/overrides.yaml"))
    if not overrides:
        raise UserError(f"{folder} holds no run of a multirun (no */.hydra/overrides.yaml)")
    overrides.sort(key=_launch_number)
    return [_run(path.parent.parent, yaml.safe_load(path.read_text(encoding="utf-8")) or []) for path in overrides]


def group(runs: Sequence[SweepRun]) -> list[SweepPoint]:
    """Finished runs by what was varied, in the order of the runs."""
    keys = _varied(runs)
    points: dict[tuple[str, ...], SweepPoint] = {}
    for run in runs:
        if run.status != "finished":
            continue
        values = {key: run.values.get(key, "default") for key in keys}
        point = points.setdefault(tuple(values.values()), SweepPoint(values))
        point.runs.append(run)
    for point in points.values():
        point.runs.sort(key=lambda run: run.values.get("seed", ""))
    return list(points.values())


def learning_curve(run: SweepRun, metric: str) -> list[tuple[int, float]]:
    """(step, value) of every validation, from metrics.csv and those that resumed runs put aside."""
    points = {}
    for log in sorted(run.folder.glob("metrics*.csv"), key=lambda path: (path.name == "metrics.csv", path.name)):
        with open(log, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row.get(metric):
                    points[int(row["step"])] = float(row[metric])
    return sorted(points.items())


def _short(value: str) -> str:
    """Four digits of what a search has drawn are enough to tell settings apart."""
    return f"{float(value):.4g}" if re.fullmatch(r"-?\d*\.\d{5,}(e-?\d+)?", value) else value


def _launch_number(overrides: Path) -> int:
    config = yaml.safe_load(overrides.with_name("hydra.yaml").read_text(encoding="utf-8"))
    number = config["hydra"]["job"].get("num")
    return number if isinstance(number, int) else -1


def _varied(runs: Sequence[SweepRun]) -> list[str]:
    """Keys, besides the seed, whose values are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.values)
    return [key for key in keys if key != "seed" and len({run.values.get(key) for run in runs}) > 1]


def _run(folder: Path, overrides: Sequence[str]) -> SweepRun:
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    values = {key: value for key, _, value in pairs}
    record, tracked = read_record(folder), run_id(folder)
    if record is not None:
        return SweepRun(folder, "finished", values, record, wandb_run=tracked)
    failure = folder / FAILURE
    if failure.is_file():
        message = failure.read_text(encoding="utf-8").splitlines()[-1]
        return SweepRun(folder, "failed", values, message=message, wandb_run=tracked)
    return SweepRun(folder, "unfinished", values, wandb_run=tracked)
