"""The benchmark's tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.statistics import PairedTest, Rows, by_method, learn2reg_rank, paired_tests
from mmreg_lightning.benchmark.tables import COLUMNS, box_plot, new_figure, number, run_table, setting_text
from mmreg_lightning.evaluation.measures import summarise
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Table, figure_png, write_page

Trials = Mapping[str, Rows]
_SHOWN = ("dice", "dice30", "hd95_mm", "assd_mm", "tre_mm", "sdlogj", "folds_percent", "seconds", "peak_memory_mb")
_STYLES = ("-", "--", ":", "-.")
_EXPLANATION = (
    "Means over cases; Dice, HD95 and ASSD over the organs that both images show; seconds without reading and scoring, "
    "a peer's without starting its process. Rank: Learn2Reg's, 0.1 to 1, more is better."
)


def write_results(folder: Path, rows: Rows, trials: Trials, facts: Mapping[str, Any]) -> tuple[dict[str, Any], Table]:
    """Write results.csv, summary.csv, tests.csv, summary.json, report.md, report.html and both plots.

    Args:
        folder: of the benchmark.
        rows: one a case and method.
        trials: of each method, the one used first.
        facts: what the page says about the run; ``title`` and ``what`` are its heading and its introduction.

    Returns:
        Content of summary.json, and the table of the means.
    """
    own = {m: [row for row in rows if row["method"] == m] for m in ["before", *trials]}
    means = {m: summarise(of_method) for m, of_method in own.items()}
    failed = {m: [row["case"] for row in of_method if "error" in row] for m, of_method in own.items()}
    order = sorted(own, key=lambda m: -means[m].get("dice", {"mean": -1.0})["mean"])
    rank, tests = learn2reg_rank(rows), paired_tests(rows, "dice")
    methods = {
        m: {
            "measures": means[m],
            "learn2reg_rank": rank.get(m),
            "setting": trials[m][0]["setting"] if m in trials else None,
            "trials": len(trials.get(m, ())),
            "failed_cases": failed[m],
        }
        for m in own
    }
    summary = {**facts, "methods": methods, "tests_dice": [test._asdict() for test in tests]}
    table = [["method", *(COLUMNS[key][0] for key in _SHOWN), "rank"]]
    table += [[m, *(_cell(means[m], key) for key in _SHOWN), number(rank.get(m), 2)] for m in order]
    lost = "; ".join(f"{m}: {', '.join(cases)}" for m, cases in failed.items() if cases)
    write_rows(folder / "results.csv", rows)
    write_rows(folder / "tests.csv", summary["tests_dice"])
    write_rows(folder / "summary.csv", [dict(zip(table[0], line, strict=True)) for line in table[1:]])
    write_page(
        folder,
        facts["title"],
        [
            (facts["title"], facts["what"]),
            ("Results", table),
            ("", Plot("dice.png", _boxes(rows, order), "Dice of every case")),
            ("", Plot("cumulative.png", _cumulative(rows, order), "Share of cases above a Dice")),
            ("", _EXPLANATION),
            (
                "",
                f"Without a result, not in the means: {lost}."
                if lost
                else "Every method gave a result for every case.",
            ),
            ("Paired Wilcoxon tests on Dice", _against(next(m for m in order if m != "before"), tests)),
            ("", "All pairs of methods are in tests.csv; Holm's correction is over all of them."),
            ("Tuning", _tuning(trials)),
            ("Run", run_table(facts)),
        ],
    )
    write_json(folder / "summary.json", summary)
    return summary, table


def _cell(means: Mapping[str, Any], key: str) -> str:
    value = means.get("seconds_total" if key == "seconds" else key)
    digits = COLUMNS[key][1]
    if not isinstance(value, Mapping):
        return number(value, digits)
    return number(value["mean"], digits) + (f"\u00a0±\u00a0{value['sd']:.{digits}f}" if key == "dice" else "")


def _against(best: str, tests: Sequence[PairedTest]) -> Table:
    table: Table = [["against", f"{best}: mean difference in Dice", "cases", "p", "p (Holm)"]]
    for test in tests:
        if best in test[:2]:
            other, sign = (test.second, 1) if test.first == best else (test.first, -1)
            cells = [f"{sign * test.difference:+.3f}", str(test.cases), f"{test.p:.2g}", f"{test.p_holm:.2g}"]
            table.append([other, *cells])
    return table


def _tuning(trials: Trials) -> Table:
    table: Table = [["method", "trials", "failed", "setting used", "tuning Dice"]]
    for method, own in trials.items():
        failed = sum("error" in trial for trial in own)
        used = [setting_text(own[0]["setting"]), number(own[0].get("dice"), 3)]
        table.append([method, str(len(own)), str(failed), *used])
    return table


def _boxes(rows: Rows, order: Sequence[str]) -> bytes:
    table = by_method(rows, "dice")
    values = {m: list(table[m].values()) for m in reversed(order) if m in table}
    label = "mean Dice over the organs of a case (box: quartiles, whiskers: range)"
    colours = [_colour(m, order) for m in values]
    return box_plot(new_figure(9, 0.45 * len(values) + 1.2), values, colours, label, horizontal=True)


def _cumulative(rows: Rows, order: Sequence[str]) -> bytes:
    table = by_method(rows, "dice")
    figure = new_figure(10, 4.5)
    axes = figure.subplots()
    drawn: list[str] = []
    for name in (m for m in order if m in table):
        colour = _colour(name, order)
        style = _STYLES[drawn.count(colour) % len(_STYLES)]
        drawn.append(colour)
        axes.ecdf(list(table[name].values()), complementary=True, label=name, color=colour, linestyle=style)
    axes.set(xlabel="mean Dice over the organs of a case", ylabel="share of cases with at least this Dice")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    return figure_png(figure)


def _colour(name: str, order: Sequence[str]) -> str:
    """One colour a feature family; peers and ``before`` are grey."""
    families = list(dict.fromkeys(m.split("+")[0] for m in order if "+" in m))
    return COLOURS[families.index(name.split("+")[0])] if "+" in name else "#999999"
