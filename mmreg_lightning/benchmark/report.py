"""The benchmark's tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.statistics import by_method, learn2reg_rank, paired_tests
from mmreg_lightning.evaluation.measures import summarise
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

COLUMNS = (
    ("dice", "Dice", 3),
    ("dice30", "Dice, 30th percentile", 3),
    ("hd95_mm", "HD95, mm", 2),
    ("assd_mm", "ASSD, mm", 2),
    ("tre_mm", "TRE, mm", 2),
    ("sdlogj", "SDlogJ", 3),
    ("folds_percent", "folds, %", 3),
    ("seconds_total", "s / pair", 1),
    ("peak_memory_mb", "peak MB", 0),
)
_STYLES = ("-", "--", ":", "-.")

_EXPLANATION = (
    "Means over cases; Dice, HD95 and ASSD over the organs that both images show; seconds without reading and scoring, "
    "a peer's without starting its process. Rank: Learn2Reg's, 0.1 to 1, more is better."
)


def write_results(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    trials: Mapping[str, Sequence[Mapping[str, Any]]],
    facts: Mapping[str, Any],
) -> tuple[dict[str, Any], Table]:
    """Write results.csv, summary.csv, tests.csv, summary.json, report.md, report.html and both plots.

    Args:
        folder: of the benchmark.
        rows: one a case and method.
        trials: of each method, the one used first.
        facts: what the page says about the run: title, command, versions, machine, seed, pairs.

    Returns:
        Content of summary.json, and the table of the means.
    """
    methods = list(dict.fromkeys(["before", *trials]))
    summaries = {m: summarise([row for row in rows if row["method"] == m]) for m in methods}
    rank = learn2reg_rank(rows)
    tests = paired_tests(rows, "dice")
    failures = {m: [row["case"] for row in rows if row["method"] == m and "error" in row] for m in trials}
    summary = {
        **facts,
        "methods": {
            m: {
                "measures": summaries[m],
                "learn2reg_rank": rank.get(m),
                "setting": trials[m][0]["setting"] if m in trials else None,
                "trials": len(trials.get(m, ())),
                "failed_cases": failures.get(m, []),
            }
            for m in methods
        },
        "tests_dice": [test._asdict() for test in tests],
    }
    order = sorted(methods, key=lambda m: -_mean(summaries[m], "dice", default=-1.0))
    write_rows(folder / "results.csv", rows)
    write_rows(folder / "tests.csv", [test._asdict() for test in tests])
    table = [["method", *(title for _, title, _ in COLUMNS), "rank"]]
    table += [[m, *_cells(summaries[m]), f"{rank[m]:.2f}" if m in rank else "–"] for m in order]
    write_rows(folder / "summary.csv", [dict(zip(table[0], line, strict=True)) for line in table[1:]])
    plots = [
        Plot("dice.png", _box_plot(rows, order), "Dice of every case"),
        Plot("cumulative.png", _cumulative(rows, order), "Share of cases above a Dice"),
    ]
    write_page(folder, str(facts["title"]), _sections(table, plots, trials, tests, failures, facts, order))
    write_json(folder / "summary.json", summary)
    return summary, table


def _sections(
    table: Table,
    plots: Sequence[Plot],
    trials: Mapping[str, Sequence[Mapping[str, Any]]],
    tests: Sequence[Any],
    failures: Mapping[str, Sequence[str]],
    facts: Mapping[str, Any],
    order: Sequence[str],
) -> list[Section]:
    """(heading, paragraph or table) in the order of the page; an empty heading goes on with the one before."""
    best = next(m for m in order if m != "before")
    settings: Table = [["method", "trials", "failed", "setting used", "tuning Dice"]]
    for method, own in trials.items():
        failed = sum("error" in t for t in own)
        text = ", ".join(f"{k}={v}" for k, v in own[0]["setting"].items()) or "the default"
        tuned = "–" if "error" in own[0] else f"{own[0]['dice']:.3f}"
        settings.append([method, str(len(own)), str(failed), text, tuned])
    against: Table = [["against", f"{best}: mean difference in Dice", "cases", "p", "p (Holm)"]]
    for test in tests:
        if best in (test.first, test.second):
            sign = 1 if test.first == best else -1
            other = test.second if sign == 1 else test.first
            against.append(
                [other, f"{sign * test.difference:+.3f}", str(test.cases), f"{test.p:.2g}", f"{test.p_holm:.2g}"]
            )
    lost = "; ".join(f"{m}: {', '.join(cases)}" for m, cases in failures.items() if cases)
    run: Table = [["what", "value"]]
    run += [[key, str(value)] for key, value in facts.items() if key not in ("title", "what")]
    return [
        (str(facts["title"]), str(facts["what"])),
        ("Results", table),
        *(("", plot) for plot in plots),
        ("", _EXPLANATION),
        ("", f"Without a result, not in the means: {lost}." if lost else "Every method gave a result for every case."),
        ("Paired Wilcoxon tests on Dice", against),
        ("", "All pairs of methods are in tests.csv; Holm's correction is over all of them."),
        ("Tuning", settings),
        ("Run", run),
    ]


def _cells(summary: Mapping[str, Any]) -> list[str]:
    out = []
    for key, _, digits in COLUMNS:
        value = summary.get(key)
        if value is None:
            out.append("–")
        elif isinstance(value, Mapping):
            deviation = f"\u00a0±\u00a0{value['sd']:.{digits}f}" if key == "dice" else ""
            out.append(f"{value['mean']:.{digits}f}{deviation}")
        else:
            out.append(f"{value:.{digits}f}")
    return out


def _mean(summary: Mapping[str, Any], key: str, default: float) -> float:
    return float(summary[key]["mean"]) if key in summary else default


def _box_plot(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> bytes:
    from matplotlib.figure import Figure

    table = by_method(rows, "dice")
    names = [m for m in reversed(order) if m in table]
    figure = Figure(figsize=(9, 0.45 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    values = [list(table[m].values()) for m in names]
    box = axes.boxplot(values, orientation="horizontal", widths=0.6, patch_artist=True, whis=(0, 100))
    for patch, name in zip(box["boxes"], names, strict=True):
        patch.set(facecolor=_colour(name, order), alpha=0.6)
    for median in box["medians"]:
        median.set(color="black")
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.set_xlabel("mean Dice over the organs of a case (box: quartiles, whiskers: range)")
    axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def _cumulative(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> bytes:
    from matplotlib.figure import Figure

    table = by_method(rows, "dice")
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    everything = [value for cases in table.values() for value in cases.values()]
    left, right = min(everything) - 0.02, max(everything) + 0.02
    drawn: dict[str, int] = {}
    for name in (m for m in order if m in table):
        values = sorted(table[name].values())
        n = len(values)
        colour = _colour(name, order)
        style = _STYLES[drawn.setdefault(colour, 0) % len(_STYLES)]
        drawn[colour] += 1
        shares = [1.0, *(1 - i / n for i in range(n)), 0.0]
        axes.step([left, *values, right], shares, where="pre", label=name, color=colour, linestyle=style)
    axes.set_xlim(left, right)
    axes.set_xlabel("mean Dice over the organs of a case")
    axes.set_ylabel("share of cases with at least this Dice")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    return figure_png(figure)


def _colour(name: str, order: Sequence[str]) -> str:
    """One colour a feature family; peers and ``before`` grey."""
    families = list(dict.fromkeys(m.split("+")[0] for m in order if "+" in m))
    return COLOURS[families.index(name.split("+")[0])] if "+" in name else "#999999"
