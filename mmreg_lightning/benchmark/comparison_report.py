"""The comparison as one self-contained HTML page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.comparison import MIND_PATCHES
from mmreg_lightning.benchmark.tuning import DICE_TOLERANCE, MAX_FOLDS_PERCENT
from mmreg_lightning.files import write_text
from mmreg_lightning.reporting.pages import Plot, Section, Table, figure_png, html_page

NAMES = {
    "before": "before",
    "mind_ssc": "MIND-SSC + demons",
    "learned": "learned + demons",
    "labels": "true labels + demons (ceiling)",
}
COLOURS = {"before": "#999999", "mind_ssc": "#E69F00", "learned": "#0072B2", "labels": "#009E73"}  # Okabe-Ito
COLUMNS = (
    ("dice", "Dice", 3),
    ("tre_mm", "TRE, mm", 2),
    ("folds_percent", "folds, %", 3),
    ("sdlogj", "SDlogJ", 3),
    ("cosine", "cosine", 2),
    ("seconds", "s / pair", 1),
)


def results_table(results: Mapping[str, Any]) -> Table:
    """The means, a row a method."""
    header = ["", *(title for _, title, _ in COLUMNS)]
    return [header, *([NAMES[key], *_cells(results[key])] for key in NAMES)]


def method_note(*, trials: int, tuning_pairs: int, tune: str, report: str) -> str:
    """How the settings were chosen and what the numbers are from, as a paragraph.

    Args:
        trials: settings that every family tried.
        tuning_pairs: pairs that they were tried on.
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
        f"{tuning_pairs} pair{'s' if tuning_pairs > 1 else ''} of the {tune} split (settings that fold more than "
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
    sections.append(("", Plot("dice.png", _box_plot(results), caption)))
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


def _cells(row: Mapping[str, Any]) -> list[str]:
    values = [(row.get(key), digits) for key, _, digits in COLUMNS]
    return ["–" if value is None else f"{value:.{digits}f}" for value, digits in values]


def _box_plot(results: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for position, key in enumerate(NAMES):
        cases = results[key]["cases"]
        dice = [r["dice"] for r in cases if not r["same_subject"]] or [r["dice"] for r in cases]
        box = axes.boxplot([dice], positions=[position], widths=0.6, patch_artist=True, whis=(0, 100))
        box["boxes"][0].set(facecolor=COLOURS[key], alpha=0.6)
        box["medians"][0].set(color="black")
        axes.plot([position] * len(dice), dice, "o", color="black", markersize=3)
    axes.set_xticks(range(len(NAMES)), [name.replace(" + ", "\n+ ") for name in NAMES.values()])
    axes.set_ylabel("mean Dice over the organs of a pair")
    axes.grid(axis="y", alpha=0.3)
    return figure_png(figure)


def _learning_curves(log: Path) -> bytes:
    from matplotlib.figure import Figure

    with open(log, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, keys in ((left, ("train/organ_loss", "train/descent_loss")), (right, ("train/cosine", "val/dice"))):
        for key, colour in zip(keys, ("#0072B2", "#D55E00"), strict=True):
            points = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=key, marker="o" if "val" in key else None)
        axes.set_xlabel("training step")
        if axes.has_data():
            axes.legend()
        axes.grid(alpha=0.3)
    left.set_ylabel("loss")
    right.set_ylabel("cosine, Dice")
    return figure_png(figure)
