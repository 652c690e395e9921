"""From a benchmark's configuration to its methods, pairs and trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mmreg_lightning.benchmark.methods import FeatureMethod, Method, Outcome, PeerMethod, Setting
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.registration.families import FeatureFamily, family_of_checkpoint, family_of_config
from mmreg_lightning.registration.settings import solver_config
from mmreg_lightning.registration.solve import FeatureMaps

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, done, in all)."""
Row = dict[str, Any]
Judge = Callable[[Method, Pair[Image], Outcome, Setting], Row]


@dataclass(frozen=True)
class Case:
    """One pair to be registered, as it is or changed.

    Attributes:
        files: the pair.
        perturbation: kind of change; None is none.
        level: of it, 0 for the pair as it is.
    """

    files: Pair[ImageFiles]
    perturbation: Perturbation | None = None
    level: float = 0


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        dataset: the data set.
        label_names: organs that count.
        methods: in the order of the report.
        memo: see ``FeatureMethod``.
        tuning: pairs that settings are tried on.
        cases: what the numbers are from.
        trials: settings a method; None is the whole space of each.
        seed: of the settings that are drawn.
        judge: measures one registration of a trial: ``dice``, ``folds_percent``, ``sdlogj`` and what else is noted.
    """

    dataset: Learn2RegDataset
    label_names: Mapping[int, str]
    methods: Sequence[Method]
    memo: dict[Any, FeatureMaps]
    tuning: Sequence[Pair[ImageFiles]]
    cases: Sequence[Case]
    trials: int | None
    seed: int
    judge: Judge


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check a configuration (conf/benchmark.yaml) and build what it names.

    Raises:
        UserError: data, checkpoint, a family, a solver, a peer or a number cannot be used.
    """
    dataset = Learn2RegDataset.read(config["data"]["root"])
    memo: dict[Any, FeatureMaps] = {}
    methods: list[Method] = []
    for name, options in config["features"].items():
        family = make_family(name, options, config["checkpoint"], dataset)
        methods += [make_method(family, solver, own, memo) for solver, own in config["solvers"].items()]
    for name, options in config["peers"].items():
        if name not in PEERS:
            raise UserError(f"peers.{name}: must be one of {', '.join(PEERS)}")
        if peer_version(name) is None:
            raise UserError(
                f"peers.{name}: the package {PEERS[name].package} is not installed; pip install "
                f"'mmreg-lightning[peers]', or leave it out by '~peers.{name}'"
            )
        methods.append(PeerMethod(name, options.get("space", {})))
    if not methods:
        raise UserError("features, solvers and peers leave nothing to compare")
    tuning, report = config["tuning"], config["report"]

    def judge(method: Method, pair: Pair[Image], found: Outcome, setting: Setting) -> Row:
        row = score(pair, found.displacement, dataset.label_names).row()
        return {key: row[key] for key in ("dice", "folds_percent", "sdlogj")}

    return Plan(
        dataset,
        dataset.label_names,
        methods,
        memo,
        select(dataset, "tuning", tuning["split"], tuning["pairs"]),
        [Case(files) for files in select(dataset, "report", report["split"], report["pairs"])],
        positive_int("tuning.trials", tuning["trials"]),
        int(config["seed"]),
        judge,
    )


def make_family(
    name: str, options: Mapping[str, Any], checkpoint: str | None, dataset: Learn2RegDataset
) -> FeatureFamily:
    """A feature family by name: ``learned`` of a checkpoint, any other from its configuration.

    Raises:
        UserError: it cannot be built, or ``learned`` has no checkpoint that fits the data set.
    """
    if name != "learned":
        given = dict(options)
        if given.get("ids") == "???":  # the true labels of this data set
            given["ids"] = list(dataset.label_names)
        return family_of_config(name, given)
    if checkpoint is None:
        raise UserError("checkpoint=null: features.learned needs one of mmreg-train; '~features.learned' leaves it out")
    family = family_of_checkpoint(checkpoint, options.get("space"))
    assert family.model is not None, "a checkpoint has a model"
    dataset.check_fits(checkpoint, family.model.modalities, family.label_names)
    return family


def make_method(
    family: FeatureFamily, solver: str | None, options: Mapping[str, Any], memo: dict[Any, FeatureMaps]
) -> FeatureMethod:
    """A feature family with a solver.

    Args:
        family: features.
        solver: name of a file of conf/solver; None is the family's own, see ``solver_config``.
        options: ``overrides`` of the solver's configuration and ``space`` of ``solver.KEY``; None is
            ``demons_space``.
        memo: see ``FeatureMethod``.

    Raises:
        UserError: see ``solver_config`` and ``demons_space``.
    """
    config = solver_config(solver, family, options.get("overrides", ()))
    space = options.get("space")
    return FeatureMethod(family, (solver or "demons", config), demons_space(config) if space is None else space, memo)


def demons_space(solver: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """What tuning tries of a demons solver: conf/search_space.yaml, by the regulariser of its step.

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


def select(
    dataset: Learn2RegDataset,
    key: str,
    split: str,
    count: int | None,
    everything: bool = False,
    options: Sequence[str] = ("tuning.split", "report.split"),
) -> Sequence[Pair[ImageFiles]]:
    """The first labelled pairs of two subjects in a split; of one subject where there are no others.

    Args:
        dataset: to select from.
        key: what the pairs are for, for messages.
        split: ``train``, ``val`` or ``test``.
        count: at most so many; None is all.
        everything: pairs of one subject, too.
        options: what the caller calls the splits, see ``Learn2RegDataset.check_labelled``.

    Raises:
        UserError: no such split, it is empty, none of its pairs has labels, or a pair is not of the data set's
            modalities in their roles.
    """
    if split not in dataset.pairs:
        raise UserError(f"{key}.split={split}: must be one of {', '.join(dataset.pairs)}")
    pairs = dataset.check_labelled(split, options)
    chosen = pairs if everything else [p for p in pairs if not p.same_subject] or pairs
    if count is not None:
        chosen = chosen[: positive_int(f"{key}.pairs", count)]
    dataset.check_roles(chosen)
    return chosen
