"""The table and plots of a sweep."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from scipy.stats import wilcoxon

from mmreg_lightning.benchmark.statistics import holm
from mmreg_lightning.files import ensure_output_dir, write_rows, write_text
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, markdown_table, write_page
from mmreg_lightning.training.sweep.collect import SweepPoint, SweepRun, group, learning_curve, read_sweep
from mmreg_lightning.training.sweep.record import failures, forget_failures, is_first_process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    ("val/dice", "Dice", 3),
    ("val/cosine", "cosine", 3),
    ("val/sdlogj", "SDlogJ", 3),
    ("val/folds_percent", "folds, %", 3),
)
_NOTE = (
    "Of the last validation of each training: mean and, after ±, standard deviation over the seeds. p: Wilcoxon's "
    "paired test of the Dice of every validation pair and seed against the first row, corrected by Holm; pairs of one "
    "seed share a training, so it is a hint rather than a proof."
)


class SweepReport(Callback):
    """Prints the table of a multirun at its end, and where its report lies; ends with exit code 1 after failures."""

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before the first run."""
        if is_first_process():
            forget_failures(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when all runs have ended.

        Raises:
            SystemExit: a run failed, and the sweeper does not say with ``max_failure_rate`` that runs may fail.
        """
        folder = Path(config.hydra.sweep.dir)
        try:
            print(write_sweep_report(folder))
            print(f"Report: {folder / 'report.html'}")
        finally:
            # Hydra turns every other exception of a callback into a warning.
            if failures(folder) and not config.hydra.sweeper.get("max_failure_rate"):
                sys.exit(1)


def write_sweep_report(folder: Path, out: Path | None = None) -> str:
    """Write sweep.csv, report.md, report.tex, report.html, curves.png and effects.png.

    Args:
        folder: of a multirun of mmreg-train.
        out: where to; None is ``folder``.

    Returns:
        The table in Markdown, with what did not finish and the runs of W&B.

    Raises:
        UserError: the folder holds no run, or ``out`` cannot be written.
    """
    runs = read_sweep(folder)
    target = ensure_output_dir(folder if out is None else out)
    points = group(runs)
    table = _table(points)
    missing, doubtful = _missing(runs), _doubtful(points)
    sections: list[Section] = [(f"Sweep of {len(runs)} trainings", _before(points)), ("Results", table), ("", _NOTE)]
    tracked = _tracked(folder, runs)
    sections += [("", note) for note in (missing, doubtful, tracked) if note]
    if points:
        plots = [
            Plot("curves.png", figure_png(_curves(points)), "Dice of the validation pairs during training"),
            Plot("effects.png", figure_png(_effects(points)), "Mean Dice by the value of each setting"),
        ]
        sections += [("Learning curves and main effects", plots[0]), ("", plots[1])]
    write_rows(target / "sweep.csv", [_row(run) for run in runs])
    write_text(target / "report.tex", _latex(table))
    write_page(target, f"Sweep: {folder.name}", sections)
    return "\n".join([markdown_table(table), *(note for note in (missing, doubtful, tracked) if note)])


def _before(points: Sequence[SweepPoint]) -> str:
    before = [value for point in points for value in point.metric("val/dice_before")]
    return f"Dice before registration: {statistics.fmean(before):.3f}." if before else "No training has finished yet."


def _table(points: Sequence[SweepPoint]) -> Table:
    p_values = _against_first(points)
    table = [["setting", "seeds", *(title for _, title, _ in COLUMNS), "p", "s"]]
    for point, p in zip(points, p_values, strict=True):
        cells = []
        for name, _, digits in COLUMNS:
            found = point.mean_and_deviation(name)
            if found is None:
                cells.append("–")
                continue
            deviation = "" if math.isnan(found[1]) else f" ± {found[1]:.{digits}f}"
            cells.append(f"{found[0]:.{digits}f}{deviation}")
        seconds = statistics.fmean(run.record.seconds for run in point.runs if run.record is not None)
        shown = "–" if p is None else f"{p:.2g}"
        table.append([point.name, str(len(point.runs)), *cells, shown, f"{seconds:.0f}"])
    return table


def _against_first(points: Sequence[SweepPoint]) -> list[float | None]:
    """Corrected p of each point's Dice against the first one's; None for the first, and where nothing is shared."""
    raw: list[tuple[float, int]] = []
    for index, point in enumerate(points[1:], start=1):
        first, own = points[0].cases("dice"), point.cases("dice")
        differences = [own[key] - first[key] for key in own if key in first]
        if differences:
            raw.append((float(wilcoxon(differences).pvalue) if any(differences) else 1.0, index))
    raw.sort()
    out: list[float | None] = [None] * len(points)
    for (_, index), p in zip(raw, holm([p for p, _ in raw]), strict=True):
        out[index] = p
    return out


def _missing(runs: Sequence[SweepRun]) -> str:
    lines = [f"{run.name}: failed, {run.message}" for run in runs if run.status == "failed"]
    lines += [f"{run.name}: not finished" for run in runs if run.status == "unfinished"]
    lines += [f"{run.name}: of another configuration or other data" for run in runs if run.status == "outdated"]
    return f"Not in the table: {'; '.join(lines)}." if lines else ""


def _doubtful(points: Sequence[SweepPoint]) -> str:
    runs = [run for point in points for run in point.runs]
    lines = [f"{run.name}: {sentence}" for run in runs if run.record is not None for sentence in run.record.warnings]
    return f"Warnings: {'; '.join(lines)}." if lines else ""


def _tracked(folder: Path, runs: Sequence[SweepRun]) -> str:
    ids = [run.wandb_run for run in runs if run.wandb_run is not None]
    return f"W&B group {folder.resolve().name}: runs {', '.join(ids)} (by training in sweep.csv)." if ids else ""


def _row(run: SweepRun) -> dict[str, object]:
    row: dict[str, object] = {"folder": run.name, "status": run.status, **run.values}
    if run.wandb_run is not None:
        row["wandb_run"] = run.wandb_run
    if run.record is not None:
        row |= {**run.record.metrics, "seconds": run.record.seconds}
    return row


def _curves(points: Sequence[SweepPoint]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    for index, point in enumerate(points):
        for number, run in enumerate(point.runs):
            curve = learning_curve(run, "val/dice")
            if curve:
                label = point.name if number == 0 else None
                style = ("-", "--", ":")[index // len(COLOURS) % 3]
                axes.plot(
                    *zip(*curve, strict=True), style, color=COLOURS[index % len(COLOURS)], marker=".", label=label
                )
    axes.set_xlabel("training step")
    axes.set_ylabel("mean Dice of the validation pairs")
    axes.grid(alpha=0.3)
    if axes.lines:  # none where the trainings kept no metrics.csv
        figure.legend(fontsize=8, loc="outside right upper")
    return figure


def _effects(points: Sequence[SweepPoint]) -> Figure:
    from matplotlib.figure import Figure

    keys = list(points[0].values) or ["setting"]
    figure = Figure(figsize=(max(5.0, 3.2 * len(keys)), 3.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(keys), sharey=True, squeeze=False)[0], keys, strict=True):
        values = list(dict.fromkeys(point.values.get(key, "") for point in points))
        for place, value in enumerate(values):
            dice = [x for point in points if point.values.get(key, "") == value for x in point.metric("val/dice")]
            axes.plot([place] * len(dice), dice, "o", color="#999999", markersize=4)
            if dice:
                axes.plot(place, statistics.fmean(dice), "D", color="#0072B2", markersize=7)
        axes.set_xticks(range(len(values)), values, rotation=20, ha="right", fontsize=8)
        axes.set_xlabel(key)
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("Dice (diamond: mean)")
    return figure


def _latex(table: Table) -> str:
    def cell(text: str) -> str:
        for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("±", r"$\pm$"), ("–", "--"), ("&", r"\&"), ("#", r"\#")):
            text = text.replace(plain, escaped)
        return text

    lines = [" & ".join(cell(text) for text in row) + r" \\" for row in table]
    columns = "l" + "r" * (len(table[0]) - 1)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]
    return "\n".join(body) + "\n"
