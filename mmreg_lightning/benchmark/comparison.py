"""Comparison: the benchmark with one solver, of learned features, MIND-SSC and the true labels (the ceiling)."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Outcome
from mmreg_lightning.benchmark.plan import Case, Plan, Progress, Row, demons_space
from mmreg_lightning.benchmark.runner import STILL
from mmreg_lightning.benchmark.tables import COLUMNS, box_plot, new_figure, number
from mmreg_lightning.benchmark.tuning import DICE_TOLERANCE, MAX_FOLDS_PERCENT, best_trials, tune
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.evaluation.dice import mean_dice, registered_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.evaluation.measures import summarise
from mmreg_lightning.files import check_free, ensure_output_dir, remove_outputs, write_json, write_text
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.registration.families import (
    FeatureFamily,
    choose_family,
    family_of_checkpoint,
    family_of_config,
    has_learned_part,
    shipped,
)
from mmreg_lightning.registration.register import register_files
from mmreg_lightning.registration.settings import solver_config
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
    checkpoint: str | Path | None,
    root: str | Path,
    out: str | Path,
    *,
    features: Sequence[str] = (),
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
        checkpoint: of mmreg-train; its own solver is tuned for every family. None: that of the first of ``features``.
        root: data set in Learn2Reg layout.
        features: further families, see ``comparison_plan``.
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
    plan = comparison_plan(checkpoint, root, tune_split, tune_pairs, report_split, features)
    check_free(out, OUTPUTS, overwrite)
    folder = ensure_output_dir(out)
    remove_outputs(folder, OUTPUTS)
    methods = {m.family.name: m for m in plan.methods if isinstance(m, FeatureMethod)}
    chosen = [name for name in methods if name not in ("mind_ssc", "labels")]
    names = methods[chosen[0]].family.label_names or dict(plan.dataset.label_names)
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
        last = rows[chosen[0]][-1]
        before = {"dice": last["dice_before"], "tre_mm": last["tre_mm_before"], **STILL, "seconds": 0.0}
        rows["before"].append({**last, **before})
        progress("registering", done, len(plan.cases))
    results = {name: _summary(own) for name, own in rows.items()}
    for name, best in used.items():
        results[name] |= {"setting": best["setting"], "tuning_dice": best["dice"], "cosine": best["cosine"]}
        if name not in NAMES:
            results[name]["title"] = _title(methods[name].family)
    pairs = [*plan.tuning, *(case.files for case in plan.cases)]
    results[chosen[0]]["header_notes"] = assumed = header_notes(files for pair in pairs for files in pair)
    write_json(folder / "results.json", results)
    counts = {"trials": len(trials["labels"]), "pairs": len(plan.tuning)}
    notes = [method_note(**counts, tune=tune_split, report=report_split), f"Command: {command}"]
    for name in chosen:
        if methods[name].family.space:
            tried = ", ".join(f"{key} {list(values)}" for key, values in methods[name].family.space.items())
            notes.insert(1, f"{name} tried each of them with every value of {tried}.")
    notes += notes_in_words(assumed)
    log = None if checkpoint is None else Path(checkpoint).parent / "metrics.csv"
    write_comparison_report(folder / "report.html", results, title, notes, log)
    return results


def comparison_plan(
    checkpoint: str | Path | None,
    root: str | Path,
    tune_split: str = "val",
    tune_pairs: int = 6,
    report_split: str = "test",
    features: Sequence[str] = (),
) -> Plan:
    """The plan of ``compare``: every family at the spacing and with the solver of the first one that is compared.

    That is the checkpoint's, without one the first of ``features``; MIND-SSC and the labels have its stride, too.

    Args:
        checkpoint, root, tune_split, tune_pairs, report_split: see ``compare``.
        features: families that are compared beside the checkpoint's, or without one, see ``choose_family``. The
            checkpoint is the learned part of those that have one.

    Raises:
        UserError: there is neither a checkpoint nor a family, a family is named twice, checkpoint and data do not fit,
            a split holds no pairs with labels, or the solver cannot be tuned.
    """
    compared = [] if checkpoint is None else [family_of_checkpoint(checkpoint)]
    compared += [choose_family(name, checkpoint if has_learned_part(name) else None) for name in features]
    if not compared:
        raise UserError("checkpoint=None: must be given, or features")
    taken = {"before", "mind_ssc", "labels"}
    for family in compared:
        if family.name in taken:
            raise UserError(f"features={family.name}: is compared already, a further family must have another name")
        taken.add(family.name)
    first = compared[0]
    dataset = Learn2RegDataset.read(root)
    ids = [list(family.organs(dataset)) for family in compared][0]  # all are checked
    common: dict[str, Any] = {"stride": first.features.stride, "spacing": first.spacing}
    mind = family_of_config("mind_ssc", **common, space={"features": MIND_PATCHES})
    labels = family_of_config("labels", **common, ids=ids)
    families = [mind, *(replace(family, spacing=first.spacing) for family in compared), labels]
    solver = solver_config(None, first)
    methods = [FeatureMethod(family, "demons", solver, demons_space(solver)) for family in families]
    options = ("tune", "report")  # of mmreg-compare
    tuning = dataset.select(tune_split, positive_int("tune_pairs", tune_pairs), "tune", options=options)
    reported = dataset.select(report_split, None, "report", everything=True, options=options)
    cases = [Case(files) for files in reported]
    kind = shipped("targets/one_hot") if first.model is None else first.model.hparams["descent"]["targets"]
    return Plan(dataset, methods, tuning, cases, None, 0, partial(_judge, instantiate(kind), ids))


def _title(family: FeatureFamily) -> str:
    """What a family is called in tables that is not one of ``NAMES``."""
    general = family.model is not None and family.model.general
    return f"{family.name}{', never trained on this data,' if general else ''} + demons"


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
    table += [[_name(m, own), *(number(own.get(k), COLUMNS[k][1]) for k in _SHOWN)] for m, own in results.items()]
    return table


def _name(method: str, result: Mapping[str, Any]) -> str:
    return result.get("title") or NAMES[method]


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
    between = any(not row["same_subject"] for row in results["before"]["cases"])
    what = "of two subjects" if between else "(each of one subject)"
    caption = f"Dice of every reported pair {what}; the line is the median."
    sections: list[Section] = [(title, results_table(results)), *(("", note) for note in notes)]
    sections.append(("", Plot("dice.png", _boxes(results), caption)))
    if training_log is not None and training_log.is_file():
        caption = "Training: losses, and agreement of learned with supervised steps."
        sections.append(("", Plot("training.png", _learning_curves(training_log), caption)))
    shown = [key for key in results if key not in ("before", "mind_ssc", "labels")] + ["mind_ssc"]
    for case in results["before"]["cases"][:3]:
        heading = case["case"].replace("_", " ")
        for key in shown:
            row = next(r for r in results[key]["cases"] if r["case"] == case["case"])
            picture = path.parent / row["folder"] / "report.png"
            caption = f"{_name(key, results[key])}: Dice {row['dice_before']:.3f} to {row['dice']:.3f}"
            sections.append((heading if key == shown[0] else "", Plot(str(picture), picture.read_bytes(), caption)))
    write_text(path, html_page(title, sections))


def _boxes(results: Mapping[str, Any]) -> bytes:
    values = {}
    for key, own in results.items():
        cases = own["cases"]
        between = [row["dice"] for row in cases if not row["same_subject"]]
        values[_name(key, own).replace(" + ", "\n+ ")] = between or [row["dice"] for row in cases]
    known = {"before": COLOURS[7], "mind_ssc": COLOURS[1], "learned": COLOURS[0], "labels": COLOURS[2]}
    free = itertools.cycle((COLOURS[4], COLOURS[5], COLOURS[3], COLOURS[6]))
    colours = [known.get(key) or next(free) for key in results]
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
