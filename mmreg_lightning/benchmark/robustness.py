"""Robustness: the benchmark over cases (pair, perturbation, level), with one solver; level 0 is the plain pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Method, Setting
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, make_family, make_method, make_plan
from mmreg_lightning.benchmark.runner import Cell, run_cells
from mmreg_lightning.benchmark.tuning import tune
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation, read_perturbations
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.evaluation.scores import score

SUBJECTS = "training_subjects"
"""The perturbation that changes no pair: a checkpoint of fewer training subjects."""


@dataclass(frozen=True)
class RobustnessPlan:
    """What is to be done.

    Attributes:
        benchmark: methods (one solver, several feature families), data set, tuning pairs, and a plain case for each
            pair: those of two subjects, for Dice, then those of one, for TRE.
        given: setting of each method that is not tuned.
        perturbations: with their levels.
        fewer: learned method of each number of training subjects, in rising order.
        percent: of the confidence bands.
        draws: of the bootstrap.
    """

    benchmark: Plan
    given: Mapping[str, Setting]
    perturbations: Sequence[Perturbation]
    fewer: Mapping[int, FeatureMethod]
    percent: float
    draws: int

    @property
    def pairs(self) -> list[Pair[ImageFiles]]:
        """The pairs that are registered."""
        return [case.files for case in self.benchmark.cases]


def make_robustness_plan(config: Mapping[str, Any]) -> RobustnessPlan:
    """Check a configuration (conf/benchmark.yaml with the group ``robustness``) and build what it names.

    Raises:
        UserError: see ``make_plan`` and ``read_perturbations``; or a value of the group cannot be used.
    """
    own = config["robustness"]
    solver = own["solver"]
    for key, names, known in (
        ("families", own["families"], config["features"]),
        ("solver", [solver], config["solvers"]),
    ):
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise UserError(f"robustness.{key}={own[key]}: must be of {', '.join(known)}, at least one")
    features = {name: config["features"][name] for name in own["families"]}
    solvers = {solver: config["solvers"][solver]}
    count = positive_int("robustness.pairs", own["pairs"])
    plan = make_plan({**config, "features": features, "solvers": solvers, "peers": {}})
    given = {f"{name}+{solver}": dict(setting) for name, setting in own["settings"].items()}
    for name in given:
        if name not in [method.name for method in plan.methods]:
            raise UserError(f"robustness.settings.{name.split('+')[0]}: must be of {', '.join(own['families'])}")
    if not 0 < own["percent"] < 100:
        raise UserError(f"robustness.percent={own['percent']}: must be between 0 and 100")
    cases = list(plan.cases)[:count]
    if own["same_subject_pairs"]:
        listed = plan.dataset.pairs[config["report"]["split"]]
        same = [p for p in listed if p.same_subject and None not in (p.fixed.landmarks, p.moving.landmarks)]
        same = [p.scorable() for p in same][: positive_int("robustness.same_subject_pairs", own["same_subject_pairs"])]
        cases += [Case(p) for p in same if p not in [case.files for case in cases]]
    fewer = {}
    for number, path in sorted((int(n), p) for n, p in own["checkpoints"].items()):
        family = make_family("learned", features.get("learned", {}), path, plan.dataset)
        fewer[number] = make_method(family, solver, {**solvers[solver], "space": {}}, {})
    return RobustnessPlan(
        Plan(**{**vars(plan), "cases": cases}),
        given,
        read_perturbations(own["perturbations"]),
        fewer,
        float(own["percent"]),
        positive_int("robustness.draws", own["draws"]),
    )


def run_robustness(plan: RobustnessPlan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, Setting]]:
    """Tune each method on plain pairs unless its setting is given, then register every pair at every level.

    Args:
        plan: what to do.
        folder: gets ``tuning/METHOD.json`` and ``cases/METHOD/PERTURBATION_LEVEL/CASE.json``.
        progress: told of every registration.

    Returns:
        A row a case, method, perturbation and level; level 0, which is measured once, appears for each perturbation.
        And the setting of each method.

    Raises:
        UserError: every trial of a method failed.
    """
    own = plan.benchmark
    best: dict[str, Row] = {name: {"setting": dict(setting)} for name, setting in plan.given.items()}
    for name, trials in tune(own, folder, progress, [m for m in own.methods if m.name not in best]).items():
        if "error" in trials[0]:
            raise UserError(f"every trial of {name} failed, the first with: {trials[0]['error']}")
        best[name] = trials[0]
    methods: dict[str, Method] = {m.name: m for m in own.methods}
    cells: list[Cell] = []
    for plain in own.cases:
        cells += [(plain, name, _place(folder, name, "none_0", plain)) for name in methods]
        for kind in plan.perturbations:
            for level in kind.levels[1:]:
                case = Case(plain.files, kind, level)
                cells += [(case, name, _place(folder, name, f"{kind.name}_{level:g}", case)) for name in methods]
        for number, method in plan.fewer.items():
            # The same pair, registered by another checkpoint.
            name = f"{method.name} {number}"
            methods[name], best[name] = method, best[method.name]
            case = Case(plain.files, None, number)
            cells.append((case, name, _place(folder, method.name, f"{SUBJECTS}_{number:g}", case)))

    def measure(method: Method, case: Case, pair: Pair[Image], setting: Setting) -> Row:
        found = method(case.files, pair, setting)
        row = score(pair, found.displacement, own.label_names).row()
        return {**row, "seconds": found.seconds["total"]}

    rows: list[Row] = []
    for (case, name, _), row in run_cells(own, cells, methods, best, measure, progress):
        key = {"case": case.files.name, "same_subject": case.files.same_subject, "method": name.split(" ")[0]}
        if case.perturbation is not None:
            kinds = [case.perturbation.name]
        else:
            kinds = [SUBJECTS] if case.level else [kind.name for kind in plan.perturbations]
        rows += [{**key, "perturbation": kind, "level": case.level, **row} for kind in kinds]
    used = {method.name: best[method.name]["setting"] for method in own.methods}
    return [*rows, *_without_training(plan, rows)], used


def _place(folder: Path, method: str, place: str, case: Case) -> Path:
    return folder / "cases" / method / place / f"{case.files.name}.json"


def _without_training(plan: RobustnessPlan, rows: list[Row]) -> list[Row]:
    """Hand-crafted features at every number of training subjects: they are the same at each."""
    first = plan.perturbations[0].name if plan.perturbations else None
    plain = [
        row
        for row in rows
        if row["level"] == 0 and row["perturbation"] == first and not row["method"].startswith("learned+")
    ]
    return [{**row, "perturbation": SUBJECTS, "level": number} for number in plan.fewer for row in plain]
