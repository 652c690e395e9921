"""The comparison as one self-contained HTML page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.tables import COLUMNS, box_plot, new_figure, number
from mmreg_lightning.benchmark.tuning import DICE_TOLERANCE, MAX_FOLDS_PERCENT
from mmreg_lightning.files import write_text
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, html_page

NAMES = {
    "before": "before",
    "mind_ssc": "MIND-SSC + demons",
    "learned": "learned + demons",
    "labels": "true labels + demons (ceiling)",
}
_SHOWN = ("dice", "tre_mm", "folds_percent", "sdlogj", "cosine", "seconds")


def results_table(results: Mapping[str, Any]) -> Table:
    """The means, a row a method."""
    table = [["", *(COLUMNS[key][0] for key in _SHOWN)]]
    table += [[name, *(number(results[m].get(k), COLUMNS[k][1]) for k in _SHOWN)] for m, name in NAMES.items()]
    return table


def method_note(*, trials: int, patches: int, pairs: int, tune: str, report: str) -> str:
    """How the settings were chosen and what the numbers are from, as a paragraph.

    Args:
        trials: settings that every family tried.
        patches: of MIND-SSC.
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
        f"{patches} patch sizes, on intensities that are not clipped), chosen by mean Dice over "
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
