"""The robustness run's tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np

from mmreg_lightning.benchmark.robustness import SUBJECTS, RobustnessPlan
from mmreg_lightning.benchmark.statistics import Curve, Rows, bootstrap_band, compare_areas, curve, holm
from mmreg_lightning.benchmark.tables import new_figure, number, run_table, setting_text
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

MEASURES = {"dice": ("mean Dice", 3, "more"), "tre_mm": ("TRE (mm)", 2, "less")}
"""Name, digits, and what is better."""
Row = dict[str, Any]
Curves = Mapping[tuple[str, str, str], Curve]
"""By measure, perturbation and method."""


def write_robustness(
    folder: Path, robust: RobustnessPlan, rows: Rows, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write results.csv, curves.csv, areas.csv, summary.json, a plot of each measure, report.md and report.html.

    Dice is over the pairs of two subjects where there are any, TRE is over those of one subject.

    Args:
        folder: of the run.
        robust: what was done.
        rows: of ``run_robustness``.
        settings: of each method.
        facts: what the page says about the run; ``title`` and ``what`` are its heading and its introduction.

    Returns:
        Content of summary.json.
    """
    kinds = {kind.name: kind for kind in robust.perturbations}
    if robust.fewer:
        numbers = [float(n) for n in robust.fewer]
        kinds[SUBJECTS] = Perturbation(SUBJECTS, numbers, "number", "training subjects")
    methods = [method.name for method in robust.plan.methods]
    # Landmarks correspond within a subject only; organs of one subject are aligned from the start.
    same = [row for row in rows if row["same_subject"]]
    chosen = {"dice": [row for row in rows if not row["same_subject"]] or rows, "tre_mm": same}
    curves = {
        (measure, kind, method): found
        for measure, kind, method in product(chosen, kinds, methods)
        if (found := curve(chosen[measure], method, kind, measure)) is not None
    }
    band = (robust.percent, robust.draws, robust.plan.seed)
    lines, tests = _curve_rows(curves, kinds, band), _area_rows(curves, kinds, methods, band)
    for name, table in (("results", rows), ("curves", lines), ("areas", tests)):
        write_rows(folder / f"{name}.csv", table)
    sections: list[Section] = [(facts["title"], facts["what"])]
    for measure, own in chosen.items():
        if drawn := [line for line in lines if line["measure"] == measure]:
            before = {kind: curve(own, methods[-1], kind, f"{measure}_before") for kind in kinds}
            plot, caption = _plot(measure, drawn, before, kinds), _caption(own, measure, robust.percent)
            sections.append(("Curves" if len(sections) == 1 else "", Plot(f"{measure}.png", plot, caption)))
    sections += _area_sections(tests, kinds, robust)
    failed = [row for row in rows if "error" in row]
    lost = "; ".join(f"{r['method']} {r['perturbation']} {r['level']:g} {r['case']}: {r['error']}" for r in failed)
    sections.append(("", f"Without a result: {lost}." if lost else "Every registration gave a result."))
    used = [[method, setting_text(setting)] for method, setting in settings.items()]
    sections += [("Settings", [["method", "setting, the same at every level"], *used]), ("Run", run_table(facts))]
    write_page(folder, facts["title"], sections)
    summary = {**facts, "settings": {m: dict(s) for m, s in settings.items()}, "areas": tests, "curves": lines}
    write_json(folder / "summary.json", summary)
    return summary


def _curve_rows(curves: Curves, kinds: Mapping[str, Perturbation], band: tuple[float, int, int]) -> list[Row]:
    lines = []
    for (measure, kind, method), found in curves.items():
        key = {"measure": measure, "perturbation": kind, "unit": kinds[kind].unit, "method": method}
        columns = np.stack([found.levels, found.values.mean(axis=0), *bootstrap_band(found.values, *band)], axis=1)
        for level, mean, low, high in columns.tolist():
            lines.append({**key, "level": level, "mean": mean, "low": low, "high": high, "cases": len(found.cases)})
    return lines


def _area_rows(
    curves: Curves, kinds: Mapping[str, Perturbation], methods: Sequence[str], band: tuple[float, int, int]
) -> list[Row]:
    """The first method against each of the others; Holm's correction is over the perturbations of a measure."""
    out: list[Row] = []
    for measure in MEASURES:
        found = []
        for kind, other in product(kinds, methods[1:]):
            first, second = (curves.get((measure, kind, method)) for method in (methods[0], other))
            if first and second and (test := compare_areas(first, second, *band)):
                found.append({"measure": measure, "perturbation": kind, "first": methods[0], "second": other, **test})
        out += [{**row, "p_holm": p} for row, p in zip(found, holm([row["p"] for row in found]), strict=True)]
    return out


def _area_sections(tests: Sequence[Row], kinds: Mapping[str, Perturbation], robust: RobustnessPlan) -> list[Section]:
    sections: list[Section] = []
    for measure, (name, digits, better) in MEASURES.items():
        own = [test for test in tests if test["measure"] == measure]
        if own:
            head = ["perturbation", "against", own[0]["first"], "the other", f"difference [{robust.percent:g} %]"]
            table: Table = [[*head, "cases", "p", "p (Holm)"]]
            for t in own:
                interval = f" [{t['low']:+.{digits}f}, {t['high']:+.{digits}f}]" if t["cases"] > 1 else ""
                cells = [number(t["first_area"], digits), number(t["second_area"], digits)]
                cells += [f"{t['difference']:+.{digits}f}{interval}", str(t["cases"])]
                cells += [f"{t['p']:.2g}", f"{t['p_holm']:.2g}"]
                table.append([kinds[t["perturbation"]].title, t["second"], *cells])
            sections.append((f"Area under the curve: {name}, mean over the levels; {better} is better", table))
    text = (
        f"Areas are by the trapezoid rule and divided by the range of levels. Intervals: {robust.percent:g} % "
        f"percentile bootstrap over cases, {robust.draws} draws. p: paired Wilcoxon test on the cases' areas; with n "
        "cases it cannot be below 2 / 2^n."
    )
    missing = "no checkpoints of fewer subjects were named (robustness.checkpoints), so that curve was not run."
    return [*sections, ("", text), *([] if robust.fewer else [("", f"Fewer training subjects: {missing}")])]


def _caption(rows: Rows, measure: str, percent: float) -> str:
    cases = len({row["case"] for row in rows})
    of = "one subject" if all(row["same_subject"] for row in rows) else "two subjects"
    pairs = f"{cases} {'pair' if cases == 1 else 'pairs'} of {of}"
    bands = f"bands: {percent:g} % bootstrap over pairs; grey, dotted: before registration"
    return f"{MEASURES[measure][0]} of {pairs}; {bands}"


def _plot(measure: str, lines: Rows, before: Mapping[str, Curve | None], kinds: Mapping[str, Perturbation]) -> bytes:
    methods = dict.fromkeys(line["method"] for line in lines)
    columns = min(3, len(kinds))
    height = -(-len(kinds) // columns)
    figure = new_figure(3.3 * columns, 2.7 * height + 0.4)
    grid = figure.subplots(height, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(kinds) :]:
        axes.set_axis_off()
    for axes, (name, kind) in zip(grid.flat, kinds.items(), strict=False):
        for method, colour, marker in zip(methods, cycle(COLOURS), cycle("os^D"), strict=False):
            own = [line for line in lines if (line["perturbation"], line["method"]) == (name, method)]
            levels, mean, low, high = ([line[key] for line in own] for key in ("level", "mean", "low", "high"))
            axes.fill_between(levels, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(levels, mean, color=colour, marker=marker, markersize=4, label=method)
        if still := before[name]:
            axes.plot(still.levels, still.values.mean(axis=0), color="#777777", linestyle=":", label="before")
        axes.set_xlabel(f"{kind.title}\n({kind.unit})", fontsize=8)
        axes.set_xticks(list(kind.levels))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel(MEASURES[measure][0])
    grid.flat[0].set_ylim(0, 1 if measure == "dice" else None)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    return figure_png(figure)
