"""From a benchmark's configuration to its methods, pairs and trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mmreg_lightning.benchmark.methods import FeatureMethod, Method, Outcome, PeerMethod
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation, perturb
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.registration.families import FeatureFamily, family_of_checkpoint, family_of_config
from mmreg_lightning.registration.settings import solver_config

Progress = Callable[[str, int, int], None]
"""Called with (what is done, number done, total)."""
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """One pair to be registered, as it is or perturbed.

    Attributes:
        files: the pair.
        perturbation: kind of change; None is none.
        level: of the perturbation; 0 is the pair as it is.
    """

    files: Pair[ImageFiles]
    perturbation: Perturbation | None = None
    level: float = 0

    @property
    def kind(self) -> str:
        """Name of the perturbation, or ``none``."""
        return "none" if self.perturbation is None else self.perturbation.name

    def changed(self, pair: Pair[Image], seed: int, label_names: Mapping[int, str]) -> Pair[Image]:
        """The images of ``files`` with the change; see ``perturb``, whose errors it raises."""
        if self.perturbation is None:
            return pair
        return perturb(pair, self.perturbation, self.level, self.files.name, seed, label_names)


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        dataset: the data set.
        methods: in the order of the report.
        tuning: pairs that settings are tried on.
        cases: what the numbers are from.
        trials: number of settings of a method; None is the whole space of each.
        seed: of the settings that are drawn, and of perturbations.
        judge: measures one registration of a trial: ``dice``, ``folds_percent``, ``sdlogj``, and more to be noted.
    """

    dataset: Learn2RegDataset
    methods: Sequence[Method]
    tuning: Sequence[Pair[ImageFiles]]
    cases: Sequence[Case]
    trials: int | None
    seed: int
    judge: Callable[[Pair[Image], Outcome], Row]


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check a configuration (conf/benchmark.yaml) and build what it names.

    Raises:
        UserError: data, checkpoint, a family, a solver, a peer or a number cannot be used.
    """
    dataset = Learn2RegDataset.read(config["data"]["root"])
    methods: list[Method] = []
    for name, options in config["features"].items():
        family = make_family(name, options, config["checkpoint"], dataset)
        methods += [make_method(family, solver, own) for solver, own in config["solvers"].items()]
    for name, options in config["peers"].items():
        if name not in PEERS:
            raise UserError(f"peers.{name}: must be one of {', '.join(PEERS)}")
        if peer_version(name) is None:
            mend = f"pip install 'mmreg-lightning[peers]', or leave it out by '~peers.{name}'"
            raise UserError(f"peers.{name}: the package {PEERS[name].package} is not installed; {mend}")
        methods.append(PeerMethod(name, options.get("space", {})))
    if not methods:
        raise UserError("features, solvers and peers leave nothing to compare")

    def judge(pair: Pair[Image], found: Outcome) -> Row:
        row = score(pair, found.displacement, dataset.label_names).row()
        return {key: row[key] for key in ("dice", "folds_percent", "sdlogj")}

    tuning, report = (dataset.select(config[key]["split"], config[key]["pairs"], key) for key in ("tuning", "report"))
    trials = positive_int("tuning.trials", config["tuning"]["trials"])
    return Plan(dataset, methods, tuning, [Case(files) for files in report], trials, int(config["seed"]), judge)


def make_family(
    name: str, options: Mapping[str, Any], checkpoint: str | None, dataset: Learn2RegDataset
) -> FeatureFamily:
    """A feature family by name: ``learned`` is of the checkpoint, any other one is of its configuration.

    Label ids that the configuration leaves open (``ids: null``) are those of the data set's organs.

    Raises:
        UserError: it cannot be built, or has a checkpoint that does not fit the data set, or ``learned`` has none.
    """
    if name != "learned":
        open_ids = {"ids": list(dataset.label_names)} if options.get("ids", ()) is None else {}
        family = family_of_config(name, options, **open_ids)
    elif checkpoint is None:
        raise UserError("checkpoint=null: features.learned needs one of mmreg-train; '~features.learned' leaves it out")
    else:
        family = family_of_checkpoint(checkpoint, options.get("space"))
    family.organs(dataset)
    return family


def make_method(family: FeatureFamily, solver: str | None, options: Mapping[str, Any]) -> FeatureMethod:
    """A feature family with a solver.

    Args:
        family: features.
        solver: name of a file of conf/solver; None is the family's own, see ``solver_config``.
        options: ``overrides`` of the solver's configuration and ``space`` of ``solver.KEY``; without a space it is
            ``demons_space``.

    Raises:
        UserError: see ``solver_config`` and ``demons_space``.
    """
    config = solver_config(solver, family, options.get("overrides", ()))
    space = options.get("space")
    return FeatureMethod(family, solver or "demons", config, demons_space(config) if space is None else space)


def demons_space(solver: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The search space of a demons solver by the regulariser of its step, from conf/search_space.yaml.

    Raises:
        UserError: it is another solver, or another regulariser.
    """
    spaces = yaml.safe_load((CONF_DIR / "search_space.yaml").read_text(encoding="utf-8"))
    target = solver.get("step", {}).get("regulariser", {}).get("_target_", "")
    if not solver["_target_"].endswith(".DemonsSolver") or target.rpartition(".")[2] not in spaces:
        raise UserError(
            f"solver._target_={solver['_target_']}, regulariser {target or 'none'}: a search space is known only "
            f"for demons with {', '.join(spaces)}"
        )
    space: dict[str, Sequence[Any]] = spaces[target.rpartition(".")[2]]
    return space
