"""Registration of perturbed pairs; everything finished is on disk, so a killed run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Setting
from mmreg_lightning.benchmark.robustness_plan import RobustnessPlan
from mmreg_lightning.benchmark.runner import tune_all
from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.data.pair import PairData, pair_files, read_pair
from mmreg_lightning.data.perturbed import Perturbation, perturb
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.files import write_json

SUBJECTS = "training_subjects"
"""The perturbation that is none of a pair: another checkpoint."""
Progress = Callable[[str, int, int], None]
Row = dict[str, Any]


def run_robustness(plan: RobustnessPlan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, Setting]]:
    """Tune each method on unperturbed pairs unless its setting is given, then register every pair at every level.

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
    settings = _settings(plan, folder, progress)
    jobs = list(_jobs(plan))
    rows: list[Row] = []
    held: tuple[str, PairData] | None = None
    for done, (pair, perturbation, level, methods) in enumerate(jobs):
        name = perturbation.name if perturbation is not None else SUBJECTS
        progress(f"{name} {level:g}, {pair.name}", done, len(jobs))
        place = "none_0" if level == 0 else f"{name}_{level:g}"
        changed: PairData | UserError | None = None
        for label, method in methods.items():
            setting = settings[label]
            declared = {
                "setting": dict(setting),
                "seed": plan.benchmark.seed,
                "organs": [] if perturbation is None or level == 0 else list(perturbation.organs),
            }
            path = folder / "cases" / label / place / f"{pair.name}.json"
            known = _load(path)
            if known is None or known["declared"] != declared:
                if held is None or held[0] != pair.name:
                    held = (pair.name, read_pair(pair_files(pair)))
                if changed is None:
                    changed = _changed(plan, held[1], perturbation, level, pair)
                known = {"declared": declared, "row": _register(plan, method, pair, changed, setting)}
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, known)
            key = {"case": pair.name, "same_subject": pair.same_subject, "method": label}
            kinds = plan.perturbations if level == 0 else [perturbation]
            for kind in kinds:
                rows.append(
                    {**key, "perturbation": SUBJECTS if kind is None else kind.name, "level": level, **known["row"]}
                )
    progress("done", len(jobs), len(jobs))
    return [*rows, *_without_training(plan, rows)], settings


Job = tuple[PairRecord, "Perturbation | None", float, Mapping[str, FeatureMethod]]


def _jobs(plan: RobustnessPlan) -> Iterator[Job]:
    """Pair by pair; level 0 of all perturbations is one and the same registration."""
    methods = {m.name: m for m in plan.benchmark.methods if isinstance(m, FeatureMethod)}
    for pair in plan.pairs:
        yield pair, plan.perturbations[0] if plan.perturbations else None, 0, methods
        for perturbation in plan.perturbations:
            for level in perturbation.levels[1:]:
                yield pair, perturbation, level, methods
        for number, method in plan.fewer.items():
            yield pair, None, number, {method.name: method}


def _settings(plan: RobustnessPlan, folder: Path, progress: Progress) -> dict[str, Setting]:
    found: dict[str, Setting] = dict(plan.given)
    trials = tune_all(plan.benchmark, folder, progress, [m for m in plan.benchmark.methods if m.name not in found])
    plan.benchmark.memo.clear()
    for name, own in trials.items():
        if "error" in own[0]:
            raise UserError(f"every trial of {name} failed, the first with: {own[0]['error']}")
        found[name] = own[0]["setting"]
    return found


def _changed(
    plan: RobustnessPlan, data: PairData, perturbation: Perturbation | None, level: float, pair: PairRecord
) -> PairData | UserError:
    """The perturbed pair, or why there is none; the run goes on with the others."""
    if perturbation is None:
        return data
    try:
        return perturb(data, perturbation, level, pair.name, plan.benchmark.seed, plan.benchmark.label_names)
    except UserError as error:
        return error


def _register(
    plan: RobustnessPlan, method: FeatureMethod, pair: PairRecord, data: PairData | UserError, setting: Setting
) -> Row:
    try:
        if isinstance(data, UserError):
            raise data
        found = method(pair, data, setting)
    except UserError as error:
        return {"error": str(error)}
    scores = score(data, found.displacement, plan.benchmark.label_names)
    return {
        "dice_before": None if scores.dice_before is None else scores.dice_before["mean"],
        "dice": None if scores.dice_after is None else scores.dice_after["mean"],
        "tre_mm_before": scores.tre_mm_before,
        "tre_mm": scores.tre_mm_after,
        "folds_percent": scores.folds_percent,
        "sdlogj": scores.sdlogj,
        "seconds": found.seconds["total"],
    }


def _without_training(plan: RobustnessPlan, rows: list[Row]) -> list[Row]:
    """Hand-crafted features at every number of training subjects: they are the same at each."""
    plain = [
        row
        for row in rows
        if row["level"] == 0
        and plan.perturbations
        and row["perturbation"] == plan.perturbations[0].name
        and not row["method"].startswith("learned+")
    ]
    return [{**row, "perturbation": SUBJECTS, "level": number} for number in plan.fewer for row in plain]


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
