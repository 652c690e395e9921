"""From a benchmark's configuration to its methods, pairs and trials."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureFamily, FeatureMethod, PeerMethod
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord, check_fits
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.registration.settings import MIND_SSC, UNCLIPPED, shipped_normalisation, solver_config
from mmreg_lightning.registration.solve import FeaturePair

FAMILIES = ("learned", "mind_ssc", "intensity")
_INTENSITY = {"_target_": "mmreg_lightning.features.intensity.IntensityFeatures", "stride": 2}

AnyMethod = FeatureMethod | PeerMethod


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        dataset: the data set.
        label_names: organs that count.
        methods: in the order of the report.
        memo: see ``FeatureMethod``.
        tuning, reported: pairs.
        trials: settings a method.
        seed: of the settings that are drawn.
    """

    dataset: Learn2RegDataset
    label_names: Mapping[int, str]
    methods: Sequence[AnyMethod]
    memo: dict[Any, FeaturePair]
    tuning: Sequence[PairRecord]
    reported: Sequence[PairRecord]
    trials: int
    seed: int


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check a configuration (conf/benchmark.yaml) and build what it names.

    Raises:
        UserError: data, checkpoint, a family, a solver, a peer or a number cannot be used.
    """
    dataset = Learn2RegDataset.read(config["data"]["root"])
    memo: dict[Any, FeaturePair] = {}
    methods: list[AnyMethod] = []
    for name, options in config["features"].items():
        family = make_family(name, options, config, dataset)
        for solver, own in config["solvers"].items():
            base = (solver, solver_config(solver, None, own.get("overrides", ())))
            methods.append(FeatureMethod(family, base, own.get("space", {}), memo))
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
    return Plan(
        dataset,
        dataset.label_names,
        methods,
        memo,
        select(dataset, "tuning", tuning["split"], tuning["pairs"]),
        select(dataset, "report", report["split"], report["pairs"]),
        positive_int("tuning.trials", tuning["trials"]),
        int(config["seed"]),
    )


def make_family(
    name: str, options: Mapping[str, Any], config: Mapping[str, Any], dataset: Learn2RegDataset
) -> FeatureFamily:
    """A feature family by name.

    Raises:
        UserError: unknown, or ``learned`` without a checkpoint that fits the data set.
    """
    space = options.get("space") or {}
    modalities = (dataset.fixed_modality, dataset.moving_modality)
    if name == "learned":
        checkpoint = config["checkpoint"]
        if checkpoint is None:
            raise UserError(
                "checkpoint=null: features.learned needs one of mmreg-train; '~features.learned' leaves it out"
            )
        model = load_checkpoint(checkpoint)
        check_fits(dataset, checkpoint, model.modalities, model.label_names)
        recipes, spacing = model.hparams["normalisation"], model.hparams["spacing"]
        return FeatureFamily(name, model.hparams["features"], model.features, recipes, spacing, space)
    shipped = shipped_normalisation()
    spacing = options.get("spacing")
    if name == "mind_ssc":
        recipes = dict.fromkeys(modalities, UNCLIPPED)
        return FeatureFamily(name, MIND_SSC, instantiate(MIND_SSC), recipes, spacing, space)
    if name == "intensity":
        recipes = {m: shipped.get(m, shipped["MR"]) for m in modalities}
        return FeatureFamily(name, _INTENSITY, instantiate(_INTENSITY), recipes, spacing, space)
    raise UserError(f"features.{name}: must be one of {', '.join(FAMILIES)}")


def select(dataset: Learn2RegDataset, key: str, split: str, count: int | None) -> Sequence[PairRecord]:
    """The first ``count`` pairs of two subjects in a split; of one subject where there are no others; None is all.

    Raises:
        UserError: no such split, it is empty, or an image has no labels.
    """
    if split not in dataset.pairs:
        raise UserError(f"{key}.split={split}: must be one of {', '.join(dataset.pairs)}")
    pairs = dataset.pairs[split]
    chosen = [p for p in pairs if not p.same_subject] or list(pairs)
    if count is not None:
        chosen = chosen[: positive_int(f"{key}.pairs", count)]
    if not chosen:
        raise UserError(f"{dataset.description} lists no pairs of the split {split!r} ({key}.split)")
    for pair in chosen:
        for record in (pair.fixed, pair.moving):
            if record.labels is None:
                raise UserError(f"{record.image}: an image without labels cannot be compared on")
    return chosen


def draw_settings(space: Mapping[str, Sequence[Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """The default (nothing set), then different combinations of the space's values, ``count`` in all.

    A space of fewer combinations gives what it has: nobody is given a trial that another method could not use.

    Args:
        space: values of each key.
        count: how many.
        seed: of the draw.
    """
    grid = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())] if space else []
    drawn = random.Random(seed).sample(grid, min(count - 1, len(grid)))
    return [{}, *drawn]
