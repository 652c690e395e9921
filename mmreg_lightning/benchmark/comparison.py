"""Comparison: the benchmark with one solver and three families: learned, MIND-SSC and the true labels (the ceiling)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Outcome
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, make_method
from mmreg_lightning.benchmark.runner import STILL
from mmreg_lightning.benchmark.tables import COLUMNS, box_plot, new_figure, number
from mmreg_lightning.benchmark.tuning import DICE_TOLERANCE, MAX_FOLDS_PERCENT, best_trials, tune
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.errors import positive_int
from mmreg_lightning.evaluation.dice import mean_dice, registered_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.evaluation.measures import summarise
from mmreg_lightning.files import check_free, ensure_output_dir, remove_outputs, write_json, write_text
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.registration.families import family_of_checkpoint, family_of_config
from mmreg_lightning.registration.register import register_files
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, html_page

# In the order in which they are written; results.json means that all registrations are done.
OUTPUTS = ("tuning.json", "pairs", "results.json", "report.html")
MIND_PATCHES = ({"radius": 1, "dilation": 1}, {"radius": 1, "dilation": 2}, {"radius": 2, "dilation": 2})
"""Patches of MIND-SSC that are tried with every setting of the solver; small ones suit coarse voxels."""
NAMES = {
    "before": "before",
    "mind_ssc": "MIND-SSC + demons",
    "learned": "learned + demons",
    "labels": "true labels + demons (ceiling)",
}
_SHOWN = ("dice", "tre_mm", "folds_percent", "sdlogj", "cosine", "seconds")
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
        UserError: checkpoint, data or output folder cannot be used, see ``comparison_plan``; or every trial of a
            family failed.
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
    used = best_trials(trials)
    rows: dict[str, list[Row]] = {name: [] for name in ("before", *methods)}
    for done, case in enumerate(plan.cases, start=1):
        for name, method in methods.items():
            where = Path("pairs", case.files.name, name)
            settings = replace(method.settings(case.files, used[name]["setting"]), label_names=names)
            result = register_files(case.files, settings, folder / where, overwrite=True, full=False)
            key = {"case": case.files.name, "same_subject": case.files.same_subject}
            stages = {"seconds": result.watch.total(), "folder": str(where)}
            rows[name].append({**key, **result.scores.row(), **stages})
        last = rows["learned"][-1]
        before = {"dice": last["dice_before"], "tre_mm": last["tre_mm_before"], **STILL, "seconds": 0.0}
        rows["before"].append({**last, **before})
        progress("registering", done, len(plan.cases))
    results = {name: _summary(own) for name, own in rows.items()}
    for name, best in used.items():
        results[name] |= {"setting": best["setting"], "tuning_dice": best["dice"], "cosine": best["cosine"]}
    pairs = [*plan.tuning, *(case.files for case in plan.cases)]
    results["learned"]["header_notes"] = assumed = header_notes(files for pair in pairs for files in pair)
    write_json(folder / "results.json", results)
    counts = {"trials": len(trials["learned"]), "pairs": len(plan.tuning)}
    notes = [method_note(**counts, tune=tune_split, report=report_split), f"Command: {command}"]
    notes += notes_in_words(assumed)
    write_comparison_report(folder / "report.html", results, title, notes, Path(checkpoint).parent / "metrics.csv")
    return results


def comparison_plan(
    checkpoint: str | Path, root: str | Path, tune_split: str = "val", tune_pairs: int = 6, report_split: str = "test"
) -> Plan:
    """The plan of ``compare``: every family at the checkpoint's spacing and stride, with the checkpoint's solver.

    Args:
        checkpoint, root, tune_split, tune_pairs, report_split: see ``compare``.

    Raises:
        UserError: checkpoint and data do not fit, a split holds no pairs with labels, or the solver cannot be tuned.
    """
    learned = family_of_checkpoint(checkpoint)
    model = learned.model
    assert model is not None, "a checkpoint has a model"
    dataset = Learn2RegDataset.read(root)
    dataset.check_fits(checkpoint, model.modalities, model.label_names)
    names = dataset.organs(model.label_names.values())
    common: dict[str, Any] = {"stride": model.features.stride, "spacing": learned.spacing}
    ids = list(names)
    mind = family_of_config("mind_ssc", **common, space={"features": MIND_PATCHES})
    labels = family_of_config("labels", **common, ids=ids)
    own = make_method(learned, None, {})
    methods = [FeatureMethod(family, "demons", own.config, own.space) for family in (mind, learned, labels)]
    options = ("tune", "report")  # of mmreg-compare
    tuning = dataset.select(tune_split, positive_int("tune_pairs", tune_pairs), "tune", options=options)
    reported = dataset.select(report_split, None, "report", everything=True, options=options)
    cases = [Case(files) for files in reported]
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
    maps = registration.fixed_features, registration.moving_features
    target_maps = paired_targets(targets, fixed, moving, ids, settings.features.stride)
    solver = settings.solver_config
    trusts = (registration.weight, registration.moving_weight)
    weights = [pool((labels != IGNORED).float(), settings.features.stride) for labels in (fixed, moving)]
    weights = [known if trust is None else known * trust for known, trust in zip(weights, trusts, strict=True)]
    step = instantiate(solver["step"])
    cosine = descent_agreement(step, *maps, *target_maps, solver["levels"], weights=(weights[0], weights[1]))
    dice = mean_dice(registered_dice(fixed, moving, displacement, ids))
    return {"dice": dice, **jacobian_statistics(displacement)._asdict(), "cosine": cosine}


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the rows that a measure is defined for, and the rows themselves."""
    between = summarise([row for row in rows if not row["same_subject"]] or rows)
    means = {"dice": between.get("dice")} | {key: summarise(rows).get(key) for key in _MEANS}
    return {**{key: None if mean is None else mean["mean"] for key, mean in means.items()}, "cases": rows}


def results_table(results: Mapping[str, Any]) -> Table:
    """The means, a row a method."""
    table = [["", *(COLUMNS[key][0] for key in _SHOWN)]]
    table += [[name, *(number(results[m].get(k), COLUMNS[k][1]) for k in _SHOWN)] for m, name in NAMES.items()]
    return table


def method_note(*, trials: int, pairs: int, tune: str, report: str) -> str:
    """How the settings were chosen and what the numbers are from, as a paragraph.

    Args:
        trials: settings that every family tried.
        pairs: that they were tried on.
        tune, report: names of the splits.
    """
    source = (
        f"The settings were tuned on the pairs of the reported split {report} itself: nothing here is held out."
        if tune == report
        else f"The numbers are from the {report} split."
    )
    return (
        f"Each row uses the best of the same {trials} settings of the demons solver (MIND-SSC: of these with each of "
        f"{len(MIND_PATCHES)} patch sizes, on intensities that are not clipped), chosen by mean Dice over "
        f"{pairs} pair{'s' if pairs > 1 else ''} of the {tune} split (settings that fold more than "
        f"{MAX_FOLDS_PERCENT:g} % of the voxels rank last; of those within {DICE_TOLERANCE:g} of the best Dice the "
        f"smoothest is taken). {source} TRE is over pairs of one subject, whose landmarks "
        "correspond. Cosine is the agreement of the features' steps with those of the labels on the tuning pairs."
    )


def write_comparison_report(
    path: Path, results: Mapping[str, Any], title: str, notes: Sequence[str], training_log: Path | None = None
) -> None:
    """Write the page: the table, what the numbers mean, box plot, learning curve, and pictures of the first pairs.

    Args:
        path: of the page; the folders of the pairs lie beside it.
        results: content of results.json.
        title: heading.
        notes: paragraphs below the table.
        training_log: ``metrics.csv`` of the training, for the learning curve.
    """
    between = any(not row["same_subject"] for row in results["learned"]["cases"])
    what = "of two subjects" if between else "(each of one subject)"
    caption = f"Dice of every reported pair {what}; the line is the median."
    sections: list[Section] = [(title, results_table(results)), *(("", note) for note in notes)]
    sections.append(("", Plot("dice.png", _boxes(results), caption)))
    if training_log is not None and training_log.is_file():
        caption = "Training: losses, and agreement of learned with supervised steps."
        sections.append(("", Plot("training.png", _learning_curves(training_log), caption)))
    for case in results["learned"]["cases"][:3]:
        heading = case["case"].replace("_", " ")
        for key in ("learned", "mind_ssc"):
            row = next(r for r in results[key]["cases"] if r["case"] == case["case"])
            picture = path.parent / row["folder"] / "report.png"
            caption = f"{NAMES[key]}: Dice {row['dice_before']:.3f} to {row['dice']:.3f}"
            sections.append((heading if key == "learned" else "", Plot(str(picture), picture.read_bytes(), caption)))
    write_text(path, html_page(title, sections))


def _boxes(results: Mapping[str, Any]) -> bytes:
    values = {}
    for key, name in NAMES.items():
        cases = results[key]["cases"]
        between = [row["dice"] for row in cases if not row["same_subject"]]
        values[name.replace(" + ", "\n+ ")] = between or [row["dice"] for row in cases]
    colours = [COLOURS[7], COLOURS[1], COLOURS[0], COLOURS[2]]
    return box_plot(new_figure(8, 4), values, colours, "mean Dice over the organs of a pair", horizontal=False)


def _learning_curves(log: Path) -> bytes:
    with open(log, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    figure = new_figure(10, 3.2)
    panels = {"loss": ("train/organ_loss", "train/descent_loss"), "cosine, Dice": ("train/cosine", "val/dice")}
    for axes, (label, keys) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for key, colour in zip(keys, ("#0072B2", "#D55E00"), strict=True):
            points = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=key, marker="o" if "val" in key else None)
        axes.set(xlabel="training step", ylabel=label)
        if axes.has_data():
            axes.legend()
        axes.grid(alpha=0.3)
    return figure_png(figure)
