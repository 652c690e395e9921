"""Comparison: the benchmark with one solver and three families: learned, MIND-SSC and the true labels (the ceiling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.comparison_report import method_note, write_comparison_report
from mmreg_lightning.benchmark.methods import FeatureMethod, Outcome
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, make_method, select
from mmreg_lightning.benchmark.runner import STILL
from mmreg_lightning.benchmark.tuning import tune
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.errors import positive_int
from mmreg_lightning.evaluation.dice import mean_shared_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.evaluation.measures import summarise
from mmreg_lightning.files import check_free, ensure_output_dir, remove_outputs, write_json
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.registration.families import family_of_checkpoint, family_of_config
from mmreg_lightning.registration.register import register_files

# In the order in which they are written; results.json means that all registrations are done.
OUTPUTS = ("tuning.json", "pairs", "results.json", "report.html")
MIND_PATCHES = ({"radius": 1, "dilation": 1}, {"radius": 1, "dilation": 2}, {"radius": 2, "dilation": 2})
"""Patches of MIND-SSC that are tried with every setting of the solver; small ones suit coarse voxels."""
_MEANS = ("tre_mm", "folds_percent", "sdlogj", "seconds")  # over all pairs; Dice is over those of two subjects


def compare(
    checkpoint: str | Path,
    root: str | Path,
    out: str | Path,
    *,
    tune_split: str = "val",
    tune_pairs: int = 6,
    report_split: str = "test",
    overwrite: bool = False,
    title: str = "Features compared",
    command: str = "",
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Tune every feature family on one split, then register the pairs of another one from their files.

    Mean Dice is over pairs of two subjects where the split has any, else over all. TRE is over the pairs of one
    subject, whose landmarks correspond.

    Args:
        checkpoint: of mmreg-train; its own solver is tuned for every family.
        root: data set in Learn2Reg layout.
        out: gets tuning.json, results.json, report.html and ``pairs/PAIR/FAMILY``.
        tune_split, report_split: ``train``, ``val`` or ``test``; nothing is held out where both are the same.
        tune_pairs: at most so many pairs of ``tune_split``, the first; those of two subjects where it has any.
        overwrite: remove the results of an earlier comparison in ``out``.
        title, command: for the page.
        progress: called for each trial and each registered pair.

    Returns:
        Content of results.json.

    Raises:
        UserError: checkpoint, data or output folder cannot be used; see ``comparison_plan``.
    """
    plan = comparison_plan(checkpoint, root, tune_split, tune_pairs, report_split)
    check_free(out, OUTPUTS, overwrite)
    folder = ensure_output_dir(out)
    remove_outputs(folder, OUTPUTS)
    methods = {m.family.name: m for m in plan.methods if isinstance(m, FeatureMethod)}
    names = methods["learned"].family.label_names
    tuned = tune(plan, None, progress)
    trials = {name: tuned[method.name] for name, method in methods.items()}
    write_json(folder / "tuning.json", trials)
    rows: dict[str, list[Row]] = {name: [] for name in ("before", *methods)}
    for done, case in enumerate(plan.cases, start=1):
        for name, method in methods.items():
            where = Path("pairs", case.files.name, name)
            settings = replace(method.settings(case.files, trials[name][0]["setting"]), label_names=names)
            result = register_files(case.files, settings, folder / where, overwrite=True, full=False)
            key = {"case": case.files.name, "same_subject": case.files.same_subject}
            stages = {"seconds": result.watch.total(), "folder": str(where)}
            rows[name].append({**key, **result.scores.row(), **stages})
        last = rows["learned"][-1]
        before = {"dice": last["dice_before"], "tre_mm": last["tre_mm_before"], **STILL, "seconds": 0.0}
        rows["before"].append({**last, **before})
        progress("registering", done, len(plan.cases))
    results = {name: _summary(own) for name, own in rows.items()}
    for name, (best, *_) in trials.items():
        results[name] |= {"setting": best["setting"], "tuning_dice": best["dice"], "cosine": best["cosine"]}
    write_json(folder / "results.json", results)
    counts = {"trials": len(trials["learned"]), "patches": len(MIND_PATCHES), "pairs": len(plan.tuning)}
    notes = [method_note(**counts, tune=tune_split, report=report_split), f"Command: {command}"]
    write_comparison_report(folder / "report.html", results, title, notes, Path(checkpoint).parent / "metrics.csv")
    return results


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
    model = learned.model
    assert model is not None, "a checkpoint has a model"
    dataset = Learn2RegDataset.read(root)
    dataset.check_fits(checkpoint, model.modalities, model.label_names)
    common: dict[str, Any] = {"stride": model.features.stride, "spacing": learned.spacing}
    ids = list(model.label_names)
    mind = family_of_config("mind_ssc", **common, space={"features": MIND_PATCHES})
    labels = family_of_config("labels", **common, ids=ids)
    own = make_method(learned, None, {})
    methods = [FeatureMethod(family, "demons", own.config, own.space) for family in (mind, learned, labels)]
    tuning = select(dataset, "tune", tune_split, positive_int("tune_pairs", tune_pairs))
    cases = [Case(files) for files in select(dataset, "report", report_split, None, everything=True)]
    targets = instantiate(model.hparams["descent"]["targets"])
    return Plan(dataset, methods, tuning, cases, None, 0, partial(_judge, targets, ids))


def _judge(targets: DescentTargets, ids: Sequence[int], pair: Pair[Image], found: Outcome) -> Row:
    """Scores on the working grid, as in the validation of a training, and the agreement with the labels' steps.

    Args:
        targets: of the checkpoint's supervised descent.
        ids: label ids of its organs.
        pair, found: see ``Plan.judge``.
    """
    registration, settings = found.registration, found.settings
    assert registration is not None and settings is not None, "a comparison has no other packages"
    fixed, moving = (
        resample_volume(image.labels, registration.working, "nearest").data[None].long()
        for image in pair
        if image.labels is not None
    )
    displacement = registration.deformation
    warped = warp(moving.float(), displacement, mode="nearest").long()
    maps = registration.fixed_features, registration.moving_features
    target_maps = paired_targets(targets, fixed, moving, ids, settings.features.stride)
    solver = settings.solver_config
    cosine = descent_agreement(instantiate(solver["step"]), *maps, *target_maps, solver["levels"])
    dice = mean_shared_dice(fixed, moving, warped, ids)
    return {"dice": dice, **jacobian_statistics(displacement)._asdict(), "cosine": cosine}


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the rows that a measure is defined for, and the rows themselves."""
    between = summarise([row for row in rows if not row["same_subject"]] or rows)
    means = {"dice": between.get("dice")} | {key: summarise(rows).get(key) for key in _MEANS}
    return {**{key: None if mean is None else mean["mean"] for key, mean in means.items()}, "cases": rows}
