"""Robustness: the benchmark with one solver over cases of (pair, perturbation, level); level 0 is the plain pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Outcome, Setting
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, make_family, make_method, make_plan
from mmreg_lightning.benchmark.runner import Cell, run_cells
from mmreg_lightning.benchmark.tuning import best_trials, tune
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.data.perturbed import Perturbation, read_perturbations
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.evaluation.scores import score

SUBJECTS = "training_subjects"
"""The perturbation that changes no pair: a checkpoint of fewer training subjects."""


@dataclass(frozen=True)
class RobustnessPlan:
    """What is to be done.

    Attributes:
        plan: methods (one solver, several feature families), data set, tuning pairs, and a plain case for each pair:
            those of two subjects, for Dice, then those of one, for TRE.
        given: setting of each method that is not tuned.
        perturbations: with their levels.
        fewer: learned method of each number of training subjects, in rising order.
        percent: of the confidence bands.
        draws: of the bootstrap.
    """

    plan: Plan
    given: Mapping[str, Setting]
    perturbations: Sequence[Perturbation]
    fewer: Mapping[int, FeatureMethod]
    percent: float
    draws: int


def make_robustness_plan(config: Mapping[str, Any]) -> RobustnessPlan:
    """Check a configuration (conf/benchmark.yaml with the group ``robustness``) and build what it names.

    Raises:
        UserError: see ``make_plan`` and ``read_perturbations``; or a value of the group cannot be used.
    """
    own = config["robustness"]
    families, solver = own["families"], own["solver"]
    for key, names, known in (("families", families, config["features"]), ("solver", [solver], config["solvers"])):
        if not names or not set(names) <= set(known):
            raise UserError(f"robustness.{key}={own[key]}: must be of {', '.join(known)}, at least one")
    features, options = {name: config["features"][name] for name in families}, config["solvers"][solver]
    count = positive_int("robustness.pairs", own["pairs"])
    plan = make_plan({**config, "features": features, "solvers": {solver: options}, "peers": {}})
    for name in own["settings"]:
        if name not in families:
            raise UserError(f"robustness.settings.{name}: must be of {', '.join(families)}")
    if not 0 < own["percent"] < 100:
        raise UserError(f"robustness.percent={own['percent']}: must be between 0 and 100")
    pairs = [case.files for case in plan.cases][:count]
    if own["same_subject_pairs"]:
        listed = plan.dataset.pairs[config["report"]["split"]]
        same = [p for p in listed if p.same_subject and None not in (p.fixed.landmarks, p.moving.landmarks)]
        same = [p.scorable() for p in same][: positive_int("robustness.same_subject_pairs", own["same_subject_pairs"])]
        pairs += [pair for pair in same if pair not in pairs]
    if own["checkpoints"] and "learned" not in families:
        raise UserError("robustness.checkpoints: needs learned among robustness.families")
    fewer = {}
    for number, path in sorted((int(n), p) for n, p in own["checkpoints"].items()):
        family = make_family("learned", features.get("learned", {}), path, plan.dataset)
        fewer[number] = make_method(family, solver, {**options, "space": {}})
    return RobustnessPlan(
        replace(plan, cases=[Case(pair) for pair in pairs]),
        {f"{name}+{solver}": dict(setting) for name, setting in own["settings"].items()},
        read_perturbations(own["perturbations"]),
        fewer,
        float(own["percent"]),
        positive_int("robustness.draws", own["draws"]),
    )


def run_robustness(robust: RobustnessPlan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, Setting]]:
    """Tune each method on plain pairs unless its setting is given, then register every pair at every level.

    Args:
        robust: what to do.
        folder: gets ``tuning/METHOD.json`` and ``cases/METHOD/PERTURBATION_LEVEL/CASE.json``.
        progress: called for every registration.

    Returns:
        A row a case, method, perturbation and level; and the setting of each method. Level 0 is registered once and
        has a row for each perturbation.

    Raises:
        UserError: every trial of a method failed.
    """
    plan = robust.plan
    best: dict[str, Row] = {name: {"setting": setting} for name, setting in robust.given.items()}
    best |= best_trials(tune(plan, folder, progress, [m for m in plan.methods if m.name not in best]))

    def measure(pair: Pair[Image], found: Outcome) -> Row:
        scores = score(pair, found.displacement, plan.dataset.label_names)
        return {**scores.row(), "seconds": found.seconds["total"]}

    rows: list[Row] = []
    plain: list[Row] = []  # of features without training, which are the same at every number of training subjects
    for (case, method, _, _), row in run_cells(plan, list(_cells(robust, best, folder)), measure, progress):
        key = {"case": case.files.name, "same_subject": case.files.same_subject, "method": method.name}
        kinds = [case.perturbation.name] if case.perturbation is not None else [k.name for k in robust.perturbations]
        if case.perturbation is None and case.level:
            kinds = [SUBJECTS]
        elif case.perturbation is None and not method.name.startswith("learned+"):
            plain.append({**key, "perturbation": SUBJECTS, "level": 0, **row})
        rows += [{**key, "perturbation": kind, "level": case.level, **row} for kind in kinds]
    rows += [{**row, "level": number} for number in robust.fewer for row in plain]
    return rows, {method.name: best[method.name]["setting"] for method in plan.methods}


def _cells(robust: RobustnessPlan, best: Mapping[str, Row], folder: Path) -> Iterator[Cell]:
    """Of each pair: every method on it as it is and at every level, then the checkpoints of fewer subjects on it."""
    methods = robust.plan.methods
    for plain in robust.plan.cases:
        changed = [Case(plain.files, kind, level) for kind in robust.perturbations for level in kind.levels[1:]]
        todo = [(case, method, f"{case.kind}_{case.level:g}") for case in [plain, *changed] for method in methods]
        todo += [(Case(plain.files, None, n), m, f"{SUBJECTS}_{n}") for n, m in robust.fewer.items()]
        for case, method, place in todo:
            path = folder / "cases" / method.name / place / f"{plain.files.name}.json"
            yield Cell(case, method, best[method.name], path)
