"""The runs of a sweep, read from their folders and put together by what was varied."""

from __future__ import annotations

import csv
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import yaml

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.sweep.record import (
    FAILURE,
    IDENTITY,
    RESULT,
    RunIdentity,
    RunRecord,
    read_asked,
    read_identity,
    read_record,
    run_id,
)

Status = Literal["finished", "failed", "unfinished", "outdated"]


@dataclass(frozen=True)
class SweepRun:
    """One training.

    Attributes:
        folder: of the run.
        name: the folder, below that of the sweep.
        status: ``unfinished`` is still going, or was killed; ``outdated`` has the overrides of a later one, but was
            trained with another configuration or other data.
        values: overrides of this run, by key.
        record: of a finished one.
        message: of a failed one.
        wandb_run: id of its W&B run, whose group is the name of the sweep's folder; None where the logger was off.
    """

    folder: Path
    name: str
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
    """All runs of a multirun at any depth, finished or not, in the order in which they were launched.

    What a run wrote itself says what it was: Hydra's notes in its folder may be of a later multirun. Where a multirun
    asked for the same overrides again, but their configuration or their data had changed, the earlier run is
    ``outdated``.

    Raises:
        UserError: there are none.
    """
    asked = read_asked(folder)
    found = {path.parent for name in (IDENTITY, RESULT, FAILURE) for path in folder.rglob(name)}
    noted = {path.parent.parent for path in folder.rglob(".hydra/overrides.yaml")} - found
    runs = [_run(path, path.relative_to(folder).as_posix(), asked) for path in sorted(found)]
    # Where Hydra was alone, a run has not begun, or is in another folder.
    elsewhere = {_key(run.values) for run in runs} | {_key(_values(each.overrides)) for each in asked}
    waiting = [_run(path, path.relative_to(folder).as_posix(), asked) for path in sorted(noted)]
    runs += [run for run in waiting if _key(run.values) not in elsewhere]
    if not runs:
        raise UserError(f"{folder} holds no run of a multirun (no .hydra/overrides.yaml)")
    runs.sort(key=lambda run: _launch_number(run.folder))
    return runs


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


def _launch_number(folder: Path) -> int:
    path = folder / ".hydra" / "hydra.yaml"
    if not path.is_file():  # beside the folder that Hydra named
        return sys.maxsize
    number = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["job"].get("num")
    return number if isinstance(number, int) else -1


def _values(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides by key; which sweep they are of is none of a run's settings."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if key.partition(".")[0] != "sweep"}


def _key(values: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def _is_outdated(own: RunIdentity, asked: Sequence[RunIdentity]) -> bool:
    """Whether what was asked for later has the same overrides or the same data set, but another content."""
    if any(each.fingerprint == own.fingerprint for each in asked):
        return False
    if any(_key(_values(each.overrides)) == _key(_values(own.overrides)) for each in asked):
        return True
    data = {each.root: each.data for each in asked}  # the last one wins
    return data.get(own.root, own.data) != own.data


def _varied(runs: Sequence[SweepRun]) -> list[str]:
    """Keys, besides the seed, whose values are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.values)
    return [key for key in keys if key != "seed" and len({run.values.get(key) for run in runs}) > 1]


def _run(folder: Path, name: str, asked: Sequence[RunIdentity]) -> SweepRun:
    record, identity = read_record(folder), read_identity(folder)
    if identity is None and record is not None:  # of a version that noted none
        identity = RunIdentity(record.fingerprint, "", "", record.overrides)
    if identity is None:
        noted = folder / ".hydra" / "overrides.yaml"
        overrides = yaml.safe_load(noted.read_text(encoding="utf-8")) or [] if noted.is_file() else []
    else:
        # As it was last asked for: there may be more than one way.
        overrides = [each.overrides for each in asked if each.fingerprint == identity.fingerprint]
        overrides = overrides[-1] if overrides else identity.overrides
    run = SweepRun(folder, name, "unfinished", _values(overrides), wandb_run=run_id(folder))
    if identity is not None and _is_outdated(identity, asked):
        return replace(run, status="outdated")
    failure = folder / FAILURE
    if failure.is_file():
        return replace(run, status="failed", message=failure.read_text(encoding="utf-8").splitlines()[-1])
    if record is not None and identity is not None and identity.fingerprint == record.fingerprint:
        return replace(run, status="finished", record=record)
    return run
