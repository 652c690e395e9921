"""Learned features against MIND-SSC and the true labels: one solver, one search, each at its own best setting."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.benchmark.comparison_inputs import OUTPUTS, select_pairs
from mmreg_lightning.benchmark.search_space import search_space
from mmreg_lightning.benchmark.tuning import Trial, TuningPair, ranked, search, settings_grid, with_setting
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.cache import PreparedImage, PreprocessingCache, pair_trust
from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord, check_fits
from mmreg_lightning.data.pair import pair_files
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.features.labels import LabelFeatures
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.files import check_free, ensure_output_dir, remove_outputs, write_json
from mmreg_lightning.registration.pipeline import register_with
from mmreg_lightning.registration.settings import MIND_SSC, MIND_SSC_VARIANTS, UNCLIPPED, Settings, settings_of_model

FAMILIES = ("mind_ssc", "learned", "labels")
Progress = Callable[[str, int, int], None]
"""Called with (what is going on, done, in all)."""


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        tuning_pairs: how many pairs every family was tuned on.
        trials: of each family, best first.
        results: content of results.json.
    """

    tuning_pairs: int
    trials: Mapping[str, Sequence[Trial]]
    results: dict[str, Any]


def compare(
    checkpoint: str | Path,
    root: str | Path,
    out: str | Path,
    *,
    cache_dir: str | Path,
    tune_split: str = "val",
    tune_pairs: int = 6,
    report_split: str = "test",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Tune every feature family on one split, then register the pairs of another from their files.

    Mean Dice is over pairs of two subjects where the split has any, else over all; TRE is over the pairs of one
    subject, whose landmarks correspond.

    Args:
        checkpoint: of mmreg-train.
        root: data set in Learn2Reg layout.
        out: gets tuning.json, results.json, and a folder for each pair and family.
        cache_dir: where prepared arrays are kept.
        tune_split, report_split: ``train``, ``val`` or ``test``; what is tuned on is not reported on, unless both
            name one split.
        tune_pairs: at most so many pairs of ``tune_split``, the first; those of two subjects where it has any.
        overwrite: remove the results of an earlier comparison in ``out``.
        progress: told of each trial and each registration.

    Raises:
        UserError: checkpoint, data or output folder cannot be used, the checkpoint was not trained for such data, or
            its solver cannot be tuned; see ``select_pairs``, ``check_fits`` and ``search_space``.
    """
    model = load_checkpoint(checkpoint)
    base = settings_of_model(model, checkpoint)
    dataset = Learn2RegDataset.read(root)
    check_fits(dataset, checkpoint, model.modalities, base.label_names)
    pairs = select_pairs(dataset, tune_split, tune_pairs, report_split)
    candidates = settings_grid(search_space(base.solver_config))
    check_free(out, OUTPUTS, overwrite)
    folder = ensure_output_dir(out)
    remove_outputs(folder, OUTPUTS)
    ids = list(base.label_names)
    assert base.spacing is not None, "a checkpoint knows its spacing"
    declared = list(dataset.label_names)
    cache = PreprocessingCache(cache_dir, base.spacing, base.normalisation, declared)
    # MIND-SSC sees the images as they are, see UNCLIPPED.
    unclipped = PreprocessingCache(cache_dir, base.spacing, dict.fromkeys(base.normalisation, UNCLIPPED), declared)
    caches = {family: unclipped if family == "mind_ssc" else cache for family in FAMILIES}
    trials = _tune(
        base, instantiate(model.hparams["descent"]["targets"]), pairs.tuning, caches, ids, candidates, progress
    )
    write_json(folder / "tuning.json", {family: [dataclasses.asdict(t) for t in trials[family]] for family in FAMILIES})
    rows: dict[str, list[dict[str, Any]]] = {family: [] for family in FAMILIES}
    for done, pair in enumerate(pairs.reported):
        for family in FAMILIES:
            setting = trials[family][0].setting
            settings = _family_settings(family, base, cache.pair(pair), ids, _part(setting, "features"))
            tuned = with_setting(base.solver_config, _part(setting, "solver"))
            settings = dataclasses.replace(settings, solver=instantiate(tuned), solver_config=tuned)
            where = folder / "pairs" / pair.name / family
            metrics = register_with(pair_files(pair), where, settings, full=False, overwrite=True).metrics
            rows[family].append(_row(pair, where.relative_to(folder), metrics))
        if progress is not None:
            progress("registering", done + 1, len(pairs.reported))
    results: dict[str, Any] = {"before": _summary(_before(rows["learned"]))}
    for family in FAMILIES:
        best = trials[family][0]
        results[family] = {
            **_summary(rows[family]),
            "setting": dict(best.setting),
            "tuning_dice": best.dice,
            "cosine": best.cosine,
        }
    write_json(folder / "results.json", results)
    return Comparison(len(pairs.tuning), trials, results)


def _tune(
    base: Settings,
    psi: DescentTargets,
    pairs: Sequence[PairRecord],
    caches: Mapping[str, PreprocessingCache],
    ids: Sequence[int],
    candidates: Sequence[Mapping[str, Any]],
    progress: Progress | None,
) -> dict[str, list[Trial]]:
    """Trials of each family, best first; MIND-SSC tries all of the solver's settings with each of its variants."""
    variants: dict[str, Sequence[Mapping[str, Any]]] = {family: [{}] for family in FAMILIES}
    variants["mind_ssc"] = MIND_SSC_VARIANTS
    total = len(candidates) * sum(map(len, variants.values()))
    done = itertools.count(1)

    def advance() -> None:
        if progress is not None:
            progress("tuning", next(done), total)

    trials: dict[str, list[Trial]] = {}
    for family in FAMILIES:
        prepared = [caches[family].pair(pair) for pair in pairs]
        found = []
        for variant in variants[family]:
            tuning_pairs = [
                _tuning_pair(_family_settings(family, base, pair, ids, variant), pair, psi, ids) for pair in prepared
            ]
            for trial in search(tuning_pairs, base.solver_config, candidates, ids, progress=advance):
                own = {f"features.{key}": value for key, value in variant.items()}
                setting = {**own, **{f"solver.{key}": value for key, value in trial.setting.items()}}
                found.append(dataclasses.replace(trial, setting=setting))
        trials[family] = ranked(found)
    return trials


def _part(setting: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The values of one group of a trial's setting, as ``{"step.alpha": 0.1}`` of ``solver``."""
    prefix = f"{group}."
    return {key.removeprefix(prefix): value for key, value in setting.items() if key.startswith(prefix)}


@torch.no_grad()
def _tuning_pair(
    settings: Settings, pair: tuple[PreparedImage, PreparedImage], psi: DescentTargets, ids: Sequence[int]
) -> TuningPair:
    features: FeatureExtractor = settings.features
    fixed, moving = pair
    labels = fixed.labels[None].long(), moving.labels[None].long()
    return TuningPair(
        features(fixed.image[None], settings.fixed_modality),
        features(moving.image[None], settings.moving_modality),
        *paired_targets(psi, *labels, ids, features.stride),
        *labels,
        pair_trust(fixed, moving, features.stride),
    )


def _family_settings(
    family: str,
    base: Settings,
    pair: tuple[PreparedImage, PreparedImage],
    ids: Sequence[int],
    variant: Mapping[str, Any],
) -> Settings:
    stride = base.features.stride
    if family == "mind_ssc":
        config = {**MIND_SSC, **variant, "stride": stride}
        recipes = dict.fromkeys(base.normalisation, UNCLIPPED)
        return dataclasses.replace(base, features=instantiate(config), features_config=config, normalisation=recipes)
    if family == "labels":
        fixed, moving = pair
        maps = {base.fixed_modality: fixed.labels[None], base.moving_modality: moving.labels[None]}
        config = {"true_labels": list(ids), "stride": stride}
        return dataclasses.replace(base, features=LabelFeatures(maps, ids, stride), features_config=config)
    return base


def _row(pair: PairRecord, where: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": pair.name,
        "same_subject": pair.same_subject,
        "dice_before": metrics["dice_before"]["mean"],
        "dice": metrics["dice_after"]["mean"],
        "tre_mm_before": metrics["tre_mm_before"],
        "tre_mm": metrics["tre_mm_after"],
        "folds_percent": metrics["folds_percent"],
        "sdlogj": metrics["sdlogj"],
        "seconds": metrics["seconds"]["total"],
        "folder": str(where),
    }


def _before(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    still = {"folds_percent": 0.0, "sdlogj": 0.0, "seconds": 0.0}
    return [{**row, "dice": row["dice_before"], "tre_mm": row["tre_mm_before"], **still} for row in rows]


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the rows that a measure is defined for, and the rows themselves."""
    between = [row for row in rows if not row["same_subject"]] or rows
    return {
        "dice": _mean(row["dice"] for row in between),
        "tre_mm": _mean(row["tre_mm"] for row in rows),
        "folds_percent": _mean(row["folds_percent"] for row in rows),
        "sdlogj": _mean(row["sdlogj"] for row in rows),
        "seconds": _mean(row["seconds"] for row in rows),
        "cases": list(rows),
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None
