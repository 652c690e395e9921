"""Comparison: the benchmark with one solver and three families, learned, MIND-SSC and the true labels (the ceiling)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Method, Outcome, Setting
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, make_method, select
from mmreg_lightning.benchmark.tuning import tune
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.errors import positive_int
from mmreg_lightning.evaluation.dice import mean_dice, registered_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.files import check_free, ensure_output_dir, remove_outputs, write_json
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.registration.families import FeatureFamily, family_of_checkpoint, family_of_config
from mmreg_lightning.registration.register import register_files
from mmreg_lightning.registration.result import Result

# In the order in which they are written; results.json says that all registrations are done.
OUTPUTS = ("tuning.json", "pairs", "results.json", "report.html")
MIND_PATCHES = ({"radius": 1, "dilation": 1}, {"radius": 1, "dilation": 2}, {"radius": 2, "dilation": 2})
"""Patches of MIND-SSC that are tried with every setting of the solver; small ones suit coarse voxels."""
SOLVER = "demons"


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        tuning_pairs: how many pairs every family was tuned on.
        trials: of each family, best first.
        results: content of results.json.
    """

    tuning_pairs: int
    trials: Mapping[str, Sequence[Row]]
    results: dict[str, Any]


def compare(
    checkpoint: str | Path,
    root: str | Path,
    out: str | Path,
    *,
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
        checkpoint: of mmreg-train; its own solver is tuned for every family.
        root: data set in Learn2Reg layout.
        out: gets tuning.json, results.json, and a folder for each pair and family.
        tune_split, report_split: ``train``, ``val`` or ``test``; what is tuned on is not reported on, unless both
            name one split.
        tune_pairs: at most so many pairs of ``tune_split``, the first; those of two subjects where it has any.
        overwrite: remove the results of an earlier comparison in ``out``.
        progress: told of each trial and each registration.

    Raises:
        UserError: checkpoint, data or output folder cannot be used, the checkpoint was not trained for such data, or
            its solver cannot be tuned; see ``comparison_plan``.
    """
    plan = comparison_plan(checkpoint, root, tune_split, tune_pairs, report_split)
    check_free(out, OUTPUTS, overwrite)
    folder = ensure_output_dir(out)
    remove_outputs(folder, OUTPUTS)
    told = progress or (lambda what, done, total: None)
    methods = [m for m in plan.methods if isinstance(m, FeatureMethod)]
    trials = {name.split("+")[0]: own for name, own in tune(plan, None, told, methods).items()}
    write_json(folder / "tuning.json", trials)
    rows: dict[str, list[Row]] = {method.family.name: [] for method in methods}
    for done, case in enumerate(plan.cases):
        for method in methods:
            name = method.family.name
            where = folder / "pairs" / case.files.name / name
            settings = method.settings(case.files, trials[name][0]["setting"])
            result = register_files(case.files, settings, where, overwrite=True, full=False)
            rows[name].append(_row(case.files, where.relative_to(folder), result))
        told("registering", done + 1, len(plan.cases))
    results: dict[str, Any] = {"before": _summary(_before(rows["learned"]))}
    for name, own in trials.items():
        best = {"setting": own[0]["setting"], "tuning_dice": own[0]["dice"], "cosine": own[0]["cosine"]}
        results[name] = {**_summary(rows[name]), **best}
    write_json(folder / "results.json", results)
    return Comparison(len(plan.tuning), trials, results)


def comparison_plan(
    checkpoint: str | Path, root: str | Path, tune_split: str = "val", tune_pairs: int = 6, report_split: str = "test"
) -> Plan:
    """The plan of ``compare``: every family at the checkpoint's spacing and stride, with the checkpoint's solver.

    Args:
        checkpoint, root, tune_split, tune_pairs, report_split: see ``compare``.

    Raises:
        UserError: checkpoint and data do not fit, a split holds no pairs, an image has no labels, or the solver cannot
            be tuned.
    """
    learned = family_of_checkpoint(checkpoint)
    assert learned.model is not None, "a checkpoint has a model"
    model = learned.model
    dataset = Learn2RegDataset.read(root)
    dataset.check_fits(checkpoint, model.modalities, model.label_names)
    common: dict[str, Any] = {"stride": model.features.stride, "spacing": learned.spacing}
    families: list[FeatureFamily] = [
        family_of_config("mind_ssc", **common, space={"features": MIND_PATCHES}),
        learned,
        family_of_config("labels", **common, ids=list(model.label_names)),
    ]
    solver = make_method(learned, None, {}, {})
    memo: dict[Any, Any] = {}
    names = model.label_names
    methods = [FeatureMethod(f, (SOLVER, solver.solver_config), solver.space, memo, names) for f in families]
    return Plan(
        dataset,
        names,
        methods,
        memo,
        select(dataset, "tune", tune_split, positive_int("tune_pairs", tune_pairs)),
        [Case(files) for files in select(dataset, "report", report_split, None, everything=True)],
        None,
        0,
        partial(_judge, instantiate(model.hparams["descent"]["targets"]), list(names)),
    )


def _judge(
    targets: DescentTargets, ids: Sequence[int], method: Method, pair: Pair[Image], found: Outcome, setting: Setting
) -> Row:
    """Scores on the working grid, as a training validates, and the agreement with the steps of the labels.

    Args:
        targets: of the checkpoint's supervised descent.
        ids: label ids of its organs.
        method, pair, found, setting: see ``Plan.judge``.
    """
    registration = found.registration
    assert isinstance(method, FeatureMethod) and registration is not None, "a comparison has no other methods"
    fixed, moving = (
        resample_volume(image.labels, registration.working, "nearest").data[None].long()
        for image in pair
        if image.labels is not None
    )
    displacement = registration.deformation
    jacobian = jacobian_statistics(displacement)
    solver = method.solver(setting)
    maps = registration.fixed_features, registration.moving_features
    cosine = descent_agreement(
        instantiate(solver["step"]),
        *maps,
        *paired_targets(targets, fixed, moving, ids, method.family.features.stride),
        solver["levels"],
    )
    return {
        "dice": mean_dice(registered_dice(fixed, moving, displacement, ids)),
        **jacobian._asdict(),
        "cosine": cosine,
    }


def _row(files: Pair[ImageFiles], where: Path, result: Result) -> Row:
    seconds = {"seconds": result.watch.total(), "folder": str(where)}
    return {"case": files.name, "same_subject": files.same_subject, **result.scores.row(), **seconds}


def _before(rows: Sequence[Row]) -> list[Row]:
    still = {"folds_percent": 0.0, "sdlogj": 0.0, "seconds": 0.0}
    return [{**row, "dice": row["dice_before"], "tre_mm": row["tre_mm_before"], **still} for row in rows]


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the rows that a measure is defined for, and the rows themselves."""
    between = [row for row in rows if not row["same_subject"]] or rows
    means = {"dice": _mean(row["dice"] for row in between)}
    means |= {key: _mean(row[key] for row in rows) for key in ("tre_mm", "folds_percent", "sdlogj", "seconds")}
    return {**means, "cases": list(rows)}


def _mean(values: Iterable[Any]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None
