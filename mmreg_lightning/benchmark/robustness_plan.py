"""From the group ``robustness`` of a benchmark's configuration to what is registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Setting
from mmreg_lightning.benchmark.plan import Plan, make_family, make_plan
from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.data.perturbed import Perturbation, read_perturbations
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.registration.settings import solver_config


@dataclass(frozen=True)
class RobustnessPlan:
    """What is to be done.

    Attributes:
        benchmark: methods (one solver, several feature families), data set and tuning pairs.
        given: setting of each method that is not tuned.
        pairs: of two subjects, for Dice, then those of one, for TRE.
        perturbations: with their levels.
        fewer: learned method of each number of training subjects, in rising order.
        percent: of the confidence bands.
        draws: of the bootstrap.
    """

    benchmark: Plan
    given: Mapping[str, Setting]
    pairs: Sequence[PairRecord]
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
    plan = make_plan({**config, "features": features, "solvers": solvers, "peers": {}})
    given = {f"{name}+{solver}": dict(setting) for name, setting in own["settings"].items()}
    for name in given:
        if name not in [method.name for method in plan.methods]:
            raise UserError(f"robustness.settings.{name.split('+')[0]}: must be of {', '.join(own['families'])}")
    count = positive_int("robustness.same_subject_pairs", own["same_subject_pairs"] or 1)
    same = [
        p for p in plan.dataset.pairs[config["report"]["split"]] if p.same_subject and p.fixed.landmarks is not None
    ]
    same = same[:count] if own["same_subject_pairs"] else []
    between = list(plan.reported)[: positive_int("robustness.pairs", own["pairs"])]
    if not 0 < own["percent"] < 100:
        raise UserError(f"robustness.percent={own['percent']}: must be between 0 and 100")
    fewer = {}
    for number, path in sorted((int(n), p) for n, p in own["checkpoints"].items()):
        family = make_family("learned", features.get("learned", {}), {**config, "checkpoint": path}, plan.dataset)
        base = (solver, solver_config(solver, None, solvers[solver].get("overrides", ())))
        fewer[number] = FeatureMethod(family, base, {}, {})
    return RobustnessPlan(
        plan,
        given,
        [*between, *(p for p in same if p not in between)],
        read_perturbations(own["perturbations"]),
        fewer,
        float(own["percent"]),
        positive_int("robustness.draws", own["draws"]),
    )
