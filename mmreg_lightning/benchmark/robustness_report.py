"""The robustness run's tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreg_lightning.benchmark.curves import AreaTest, bootstrap_band, compare_areas, curve
from mmreg_lightning.benchmark.robustness import SUBJECTS, RobustnessPlan
from mmreg_lightning.benchmark.statistics import holm
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
MEASURES = {"dice": "mean Dice", "tre_mm": "TRE (mm)"}
_MARKERS = ("o", "s", "^", "D")


def write_robustness(
    folder: Path, plan: RobustnessPlan, rows: Rows, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write results.csv, curves.csv, areas.csv, summary.json, a plot of each measure, report.md and report.html.

    Dice is over the pairs of two subjects where there are any, TRE over those of one subject.

    Args:
        folder: of the run.
        plan: what was done.
        rows: of ``run_robustness``.
        settings: of each method.
        facts: what the page says about the run, ``title`` and ``what`` among it.

    Returns:
        Content of summary.json.
    """
    kinds = list(plan.perturbations)
    if plan.fewer:
        numbers = [float(n) for n in plan.fewer]
        kinds.append(Perturbation(SUBJECTS, numbers, "number", "training subjects"))
    methods = [m.name for m in plan.benchmark.methods]
    chosen = {measure: _rows_of(rows, measure) for measure in MEASURES}
    lines = _curve_rows(plan, chosen, kinds, methods)
    tests = _area_rows(plan, chosen, kinds, methods)
    failed = [row for row in rows if "error" in row]
    write_rows(folder / "results.csv", rows)
    write_rows(folder / "curves.csv", lines)
    write_rows(folder / "areas.csv", tests)
    plots = [
        Plot(f"{measure}.png", _plot(plan, own, kinds, methods, measure), _caption(plan, own, measure))
        for measure, own in chosen.items()
        if any(line["measure"] == measure for line in lines)
    ]
    write_page(folder, str(facts["title"]), _sections(plan, plots, tests, failed, settings, facts))
    summary = {**facts, "settings": {k: dict(v) for k, v in settings.items()}, "areas": tests, "curves": lines}
    write_json(folder / "summary.json", summary)
    return summary


def _rows_of(rows: Rows, measure: str) -> Rows:
    """Landmarks correspond within a subject only; organs of one subject are aligned from the start."""
    if measure == "tre_mm":
        return [row for row in rows if row["same_subject"]]
    return [row for row in rows if not row["same_subject"]] or rows


def _curve_rows(
    plan: RobustnessPlan, chosen: Mapping[str, Rows], kinds: Sequence[Perturbation], methods: Sequence[str]
) -> list[dict[str, Any]]:
    lines = []
    for measure, own in chosen.items():
        for kind in kinds:
            for method in methods:
                found = curve(own, method, kind.name, measure)
                if found is None:
                    continue
                low, high = bootstrap_band(found.values, plan.percent, plan.draws, plan.benchmark.seed)
                for index, level in enumerate(found.levels.tolist()):
                    lines.append(
                        {
                            "measure": measure,
                            "perturbation": kind.name,
                            "unit": kind.unit,
                            "method": method,
                            "level": level,
                            "mean": float(found.values[:, index].mean()),
                            "low": float(low[index]),
                            "high": float(high[index]),
                            "cases": len(found.cases),
                        }
                    )
    return lines


def _area_rows(
    plan: RobustnessPlan, chosen: Mapping[str, Rows], kinds: Sequence[Perturbation], methods: Sequence[str]
) -> list[dict[str, Any]]:
    """The first method against each of the others; Holm's correction is over the perturbations of a measure."""
    out = []
    for measure, own in chosen.items():
        found: list[tuple[str, str, AreaTest]] = []
        for kind in kinds:
            first = curve(own, methods[0], kind.name, measure)
            for other in methods[1:]:
                second = curve(own, other, kind.name, measure)
                if first is not None and second is not None:
                    test = compare_areas(first, second, plan.percent, plan.draws, plan.benchmark.seed)
                    if test is not None:
                        found.append((kind.name, other, test))
        order = sorted(range(len(found)), key=lambda i: found[i][2].p)
        corrected = dict(zip(order, holm([found[i][2].p for i in order]), strict=True))
        for index, (name, other, test) in enumerate(found):
            pair = {"measure": measure, "perturbation": name, "first": methods[0], "second": other}
            out.append({**pair, **test._asdict(), "p_holm": corrected[index]})
    return out


def _sections(
    plan: RobustnessPlan,
    plots: Sequence[Plot],
    tests: Sequence[Mapping[str, Any]],
    failed: Rows,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> list[Section]:
    sections: list[Section] = [(str(facts["title"]), str(facts["what"]))]
    sections += [("Curves" if index == 0 else "", plot) for index, plot in enumerate(plots)]
    titles = {kind.name: kind.title for kind in plan.perturbations} | {SUBJECTS: "training subjects"}
    for measure, digits in (("dice", 3), ("tre_mm", 2)):
        own = [t for t in tests if t["measure"] == measure]
        if own:
            better = "more is better" if measure == "dice" else "less is better"
            head = ["perturbation", "against", str(own[0]["first"]), "the other", f"difference [{plan.percent:g} %]"]
            table: Table = [[*head, "cases", "p", "p (Holm)"]]
            for t in own:
                interval = f"{t['difference']:+.{digits}f}"
                if t["cases"] > 1:
                    interval += f" [{t['low']:+.{digits}f}, {t['high']:+.{digits}f}]"
                means = [f"{t[key]:.{digits}f}" for key in ("first_area", "second_area")]
                tail = [str(t["cases"]), f"{t['p']:.2g}", f"{t['p_holm']:.2g}"]
                table.append([titles[t["perturbation"]], str(t["second"]), *means, interval, *tail])
            sections.append((f"Area under the curve: {MEASURES[measure]}, mean over the levels; {better}", table))
    sections.append(
        (
            "",
            f"Areas are by the trapezoid rule and divided by the range of levels. Intervals: {plan.percent:g} % "
            f"percentile bootstrap over cases, {plan.draws} draws. p: paired Wilcoxon test on the cases' areas; with n "
            "cases it cannot be below 2 / 2^n.",
        )
    )
    if not plan.fewer:
        missing = "no checkpoints of fewer subjects were named (robustness.checkpoints), so that curve was not run."
        sections.append(("", f"Fewer training subjects: {missing}"))
    lost = "; ".join(f"{r['method']} {r['perturbation']} {r['level']:g} {r['case']}: {r['error']}" for r in failed)
    sections.append(("", f"Without a result: {lost}." if lost else "Every registration gave a result."))
    used: Table = [["method", "setting, the same at every level"]]
    used += [[m, ", ".join(f"{k}={v}" for k, v in s.items()) or "the default"] for m, s in settings.items()]
    run: Table = [["what", "value"]]
    run += [[key, str(value)] for key, value in facts.items() if key not in ("title", "what")]
    return [*sections, ("Settings", used), ("Run", run)]


def _caption(plan: RobustnessPlan, rows: Rows, measure: str) -> str:
    cases = len({row["case"] for row in rows})
    of = "one subject" if all(row["same_subject"] for row in rows) else "two subjects"
    pairs = f"{cases} {'pair' if cases == 1 else 'pairs'} of {of}"
    return (
        f"{MEASURES[measure]} of {pairs}; bands: {plan.percent:g} % bootstrap over pairs; "
        "grey, dotted: before registration"
    )


def _plot(
    plan: RobustnessPlan, rows: Rows, kinds: Sequence[Perturbation], methods: Sequence[str], measure: str
) -> bytes:
    from matplotlib.figure import Figure

    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.7 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for index, axes in enumerate(grid.flat):
        if index >= len(kinds):
            axes.set_axis_off()
            continue
        _panel(axes, plan, rows, kinds[index], methods, measure)
        if index % columns == 0:
            axes.set_ylabel(MEASURES[measure])
    if measure == "dice":
        grid.flat[0].set_ylim(0, 1)
    else:
        grid.flat[0].set_ylim(bottom=0)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    return figure_png(figure)


def _panel(
    axes: Axes, plan: RobustnessPlan, rows: Rows, kind: Perturbation, methods: Sequence[str], measure: str
) -> None:
    for number, method in enumerate(methods):
        found = curve(rows, method, kind.name, measure)
        if found is None:
            continue
        low, high = bootstrap_band(found.values, plan.percent, plan.draws, plan.benchmark.seed)
        colour = COLOURS[number]
        axes.fill_between(found.levels, low, high, color=colour, alpha=0.2, linewidth=0)
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(found.levels, found.values.mean(axis=0), color=colour, marker=marker, markersize=4, label=method)
    before = curve(rows, methods[-1], kind.name, f"{measure}_before")
    if before is not None:
        axes.plot(before.levels, before.values.mean(axis=0), color="#777777", linestyle=":", label="before")
    axes.set_xlabel(f"{kind.title}\n({kind.unit})", fontsize=8)
    axes.set_xticks(list(kind.levels))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
