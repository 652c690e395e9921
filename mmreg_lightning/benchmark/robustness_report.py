"""The robustness run's tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreg_lightning.benchmark.robustness import SUBJECTS, RobustnessPlan
from mmreg_lightning.benchmark.statistics import Rows, bootstrap_band, compare_areas, curve, holm
from mmreg_lightning.benchmark.tables import new_figure, p_cells, run_table, setting_text
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {"dice": ("mean Dice", 3, "more"), "tre_mm": ("TRE (mm)", 2, "less")}
"""Name, digits, and what is better."""
_MARKERS = "os^D"
Row = dict[str, Any]


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
    kinds = list(robust.perturbations)
    if robust.fewer:
        kinds.append(Perturbation(SUBJECTS, [float(n) for n in robust.fewer], "number", "training subjects"))
    methods = [method.name for method in robust.plan.methods]
    band = (robust.percent, robust.draws, robust.plan.seed)
    # Landmarks correspond within a subject only; organs of one subject are aligned from the start.
    same = [row for row in rows if row["same_subject"]]
    chosen = {"dice": [row for row in rows if not row["same_subject"]] or rows, "tre_mm": same}
    lines = _curve_rows(chosen, kinds, methods, band)
    tests = _area_rows(chosen, kinds, methods, band)
    write_rows(folder / "results.csv", rows)
    write_rows(folder / "curves.csv", lines)
    write_rows(folder / "areas.csv", tests)
    sections: list[Section] = [(facts["title"], facts["what"])]
    for measure, own in chosen.items():
        if drawn := [line for line in lines if line["measure"] == measure]:
            plot = Plot(f"{measure}.png", _plot(drawn, own, kinds, methods, measure), _caption(own, measure, robust))
            sections.append(("Curves" if len(sections) == 1 else "", plot))
    sections += _area_sections(tests, {kind.name: kind.title for kind in kinds}, robust)
    failed = (
        f"{r['method']} {r['perturbation']} {r['level']:g} {r['case']}: {r['error']}" for r in rows if "error" in r
    )
    lost = "; ".join(failed)
    sections.append(("", f"Without a result: {lost}." if lost else "Every registration gave a result."))
    used = [[method, setting_text(setting)] for method, setting in settings.items()]
    sections += [("Settings", [["method", "setting, the same at every level"], *used]), ("Run", run_table(facts))]
    write_page(folder, facts["title"], sections)
    summary = {**facts, "settings": {m: dict(s) for m, s in settings.items()}, "areas": tests, "curves": lines}
    write_json(folder / "summary.json", summary)
    return summary


def _curve_rows(
    chosen: Mapping[str, Rows], kinds: Sequence[Perturbation], methods: Sequence[str], band: tuple[float, int, int]
) -> list[Row]:
    lines = []
    for measure, kind, method in product(chosen, kinds, methods):
        found = curve(chosen[measure], method, kind.name, measure)
        if found is not None:
            key = {"measure": measure, "perturbation": kind.name, "unit": kind.unit, "method": method}
            columns = (found.levels, found.values.mean(axis=0), *bootstrap_band(found.values, *band))
            for values in zip(*(column.tolist() for column in columns), strict=True):
                point = dict(zip(("level", "mean", "low", "high"), values, strict=True))
                lines.append({**key, **point, "cases": len(found.cases)})
    return lines


def _area_rows(
    chosen: Mapping[str, Rows], kinds: Sequence[Perturbation], methods: Sequence[str], band: tuple[float, int, int]
) -> list[Row]:
    """The first method against each of the others; Holm's correction is over the perturbations of a measure."""
    out: list[Row] = []
    for measure, rows in chosen.items():
        found: list[Row] = []
        for kind, other in product(kinds, methods[1:]):
            first, second = (curve(rows, method, kind.name, measure) for method in (methods[0], other))
            test = None if first is None or second is None else compare_areas(first, second, *band)
            if test is not None:
                pair = {"measure": measure, "perturbation": kind.name, "first": methods[0], "second": other}
                found.append({**pair, **test})
        out += [{**row, "p_holm": p} for row, p in zip(found, holm([row["p"] for row in found]), strict=True)]
    return out


def _area_sections(tests: Sequence[Row], titles: Mapping[str, str], robust: RobustnessPlan) -> list[Section]:
    sections: list[Section] = []
    for measure, (name, digits, better) in MEASURES.items():
        own = [test for test in tests if test["measure"] == measure]
        if own:
            head = ["perturbation", "against", own[0]["first"], "the other", f"difference [{robust.percent:g} %]"]
            table: Table = [[*head, "cases", "p", "p (Holm)"]]
            for t in own:
                low, high = f"{t['low']:+.{digits}f}", f"{t['high']:+.{digits}f}"
                interval = f"{t['difference']:+.{digits}f}" + (f" [{low}, {high}]" if t["cases"] > 1 else "")
                means = [f"{t[key]:.{digits}f}" for key in ("first_area", "second_area")]
                tail = p_cells(t["cases"], t["p"], t["p_holm"])
                table.append([titles[t["perturbation"]], t["second"], *means, interval, *tail])
            sections.append((f"Area under the curve: {name}, mean over the levels; {better} is better", table))
    text = (
        f"Areas are by the trapezoid rule and divided by the range of levels. Intervals: {robust.percent:g} % "
        f"percentile bootstrap over cases, {robust.draws} draws. p: paired Wilcoxon test on the cases' areas; with n "
        "cases it cannot be below 2 / 2^n."
    )
    missing = "no checkpoints of fewer subjects were named (robustness.checkpoints), so that curve was not run."
    return [*sections, ("", text), *([] if robust.fewer else [("", f"Fewer training subjects: {missing}")])]


def _caption(rows: Rows, measure: str, robust: RobustnessPlan) -> str:
    cases = len({row["case"] for row in rows})
    of = "one subject" if all(row["same_subject"] for row in rows) else "two subjects"
    pairs = f"{cases} {'pair' if cases == 1 else 'pairs'} of {of}"
    band = f"bands: {robust.percent:g} % bootstrap over pairs"
    return f"{MEASURES[measure][0]} of {pairs}; {band}; grey, dotted: before registration"


def _plot(lines: Rows, rows: Rows, kinds: Sequence[Perturbation], methods: Sequence[str], measure: str) -> bytes:
    columns = min(3, len(kinds))
    height = -(-len(kinds) // columns)
    figure = new_figure(3.3 * columns, 2.7 * height + 0.4)
    grid = figure.subplots(height, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(kinds) :]:
        axes.set_axis_off()
    for axes, kind in zip(grid.flat, kinds, strict=False):
        _panel(axes, [line for line in lines if line["perturbation"] == kind.name], rows, kind, methods, measure)
    for axes in grid[:, 0]:
        axes.set_ylabel(MEASURES[measure][0])
    grid.flat[0].set_ylim(0, 1 if measure == "dice" else None)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    return figure_png(figure)


def _panel(axes: Axes, lines: Rows, rows: Rows, kind: Perturbation, methods: Sequence[str], measure: str) -> None:
    for number, method in enumerate(methods):
        own = [line for line in lines if line["method"] == method]
        if own:
            levels, mean, low, high = ([line[key] for line in own] for key in ("level", "mean", "low", "high"))
            style: Any = {"color": COLOURS[number], "marker": _MARKERS[number % len(_MARKERS)]}
            axes.fill_between(levels, low, high, color=COLOURS[number], alpha=0.2, linewidth=0)
            axes.plot(levels, mean, markersize=4, label=method, **style)
    before = curve(rows, methods[-1], kind.name, f"{measure}_before")
    if before is not None:
        axes.plot(before.levels, before.values.mean(axis=0), color="#777777", linestyle=":", label="before")
    axes.set_xlabel(f"{kind.title}\n({kind.unit})", fontsize=8)
    axes.set_xticks(list(kind.levels))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
