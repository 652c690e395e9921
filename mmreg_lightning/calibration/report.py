"""Tables, pictures and pages of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreg_lightning.calibration.calibrate import Calibration, mean_places
from mmreg_lightning.calibration.risk_coverage import RiskCoverage, risk_curve
from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 10


def write_calibration(folder: Path, found: Calibration, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write confidence.json, cases.csv, risk_coverage.json, risk_coverage.png, report.md and report.html.

    Args:
        folder: of the calibration.
        found: of ``calibrate``.
        facts: what the page says about the run, ``title`` among it.

    Returns:
        Content of risk_coverage.json.
    """
    rows = []
    for role, cases in (("calibration", found.fitted), ("test", found.tested)):
        confidence = found.model.of_case(mean_places(found.model, cases))
        for case, value in zip(cases, confidence.tolist(), strict=True):
            own = {"role": role, "case": case.pair, "perturbation": case.change, "level": case.level}
            wrong = 100 * float((case.errors > found.model.tolerance_mm).mean())
            measures = {"dice_before": case.dice_before, "dice": case.dice, "wrong_percent": wrong}
            rows.append({**own, **measures, "confidence": value})
    summary = {
        **facts,
        "cases": {name: area._asdict() for name, area in found.cases.items()},
        "single_cues": {name: area._asdict() for name, area in found.rankings.items()},
        "places_roc_area": dict(found.places),
        "calibrated_on": dict(found.model.calibrated_on),
        "tolerance_mm": found.model.tolerance_mm,
        "low": found.model.low,
    }
    write_rows(folder / "cases.csv", rows)
    write_json(folder / "risk_coverage.json", summary)
    write_page(folder, str(facts["title"]), _sections(found, facts))
    found.model.write(folder / "confidence.json")
    return summary


def _sections(found: Calibration, facts: Mapping[str, Any]) -> list[Section]:
    head = ["ranked by", "cases", "pairs", "area", "random", "oracle", "gain [95 %]"]
    table: Table = [head]
    names = {"all": "confidence, all cases", "plain": "confidence, plain cases only"}
    table += [_line(names[name], area) for name, area in found.cases.items()]
    table += [_line(f"{name.replace('_', ' ')} alone, all cases", area) for name, area in found.rankings.items()]
    coefficients: Table = [["cue", "coefficient, per standard deviation"]]
    coefficients += [[cue, f"{b:+.3f}"] for cue, b in zip(CUES, found.model.local[1:], strict=True)]
    about = found.model.calibrated_on
    run: Table = [["what", "value"], *([key, str(value)] for key, value in facts.items() if key != "title")]
    return [
        (
            str(facts["title"]),
            f"Fitted on {about['registrations']} registrations, tested on {len(found.tested)} of another split. "
            f"A surface is wrong beyond {found.model.tolerance_mm:g} mm, which "
            f"{about['wrong_percent']:.1f} % of the fitted places are.",
        ),
        ("Risk and coverage", Plot("risk_coverage.png", _plot(found), "Risk, cases and places of the test")),
        (
            "",
            "Risk is 1 - mean Dice. Area: under the curve of the mean risk of the most trusted cases. Gain: 1 is the "
            "oracle, which ranks by Dice itself, 0 is random; the interval is a bootstrap over pairs.",
        ),
        ("", table),
        (
            "",
            "Places: area under the ROC curve of wrong places on organ surfaces "
            + ", ".join(f"{value:.3f} ({name})" for name, value in found.places.items())
            + ".",
        ),
        ("The local model", coefficients),
        ("Run", run),
    ]


def _line(name: str, area: RiskCoverage) -> list[str]:
    numbers = [f"{value:.4f}" for value in (area.area, area.random, area.oracle)]
    return [name, str(area.cases), str(area.groups), *numbers, area.gain_text()]


def _plot(found: Calibration) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.7), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    confidence = found.model.of_case(mean_places(found.model, found.tested))
    dice = np.array([case.dice for case in found.tested])
    _draw_risk(first, confidence, 1 - dice)
    plain = np.array([case.change == "none" for case in found.tested])
    for keep, colour, marker, name in ((~plain, COLOURS[1], "s", "perturbed"), (plain, COLOURS[0], "o", "plain")):
        second.scatter(confidence[keep], dice[keep], s=16, color=colour, marker=marker, label=name)
    second.plot([0, 1], [0, 1], color="#777777", linestyle=":", label="equal")
    second.axvline(found.model.low, color="#777777", linestyle="--", linewidth=1, label="warning below")
    second.set(xlabel="confidence of the case (expected Dice)", ylabel="mean Dice", xlim=(0, 1), ylim=(0, 1))
    second.legend(fontsize=8, frameon=False)
    _draw_reliability(third, found)
    for axes in (first, second, third):
        axes.grid(alpha=0.3)
    return figure_png(figure)


def _draw_risk(axes: Axes, confidence: np.ndarray, risk: np.ndarray) -> None:
    coverage = np.arange(1, len(risk) + 1) / len(risk)
    axes.plot(coverage, risk_curve(confidence, risk), color=COLOURS[0], label="confidence")
    axes.plot(coverage, risk_curve(-risk, risk), color=COLOURS[2], linestyle="--", label="oracle")
    axes.axhline(float(risk.mean()), color="#777777", linestyle=":", label="random")
    axes.set(xlabel="coverage (share of cases, most trusted first)", ylabel="mean risk (1 - Dice)", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)


def _draw_reliability(axes: Axes, found: Calibration) -> None:
    values = found.model.places(np.concatenate([case.cues for case in found.tested]))
    right = np.concatenate([case.errors for case in found.tested]) <= found.model.tolerance_mm
    order = np.array_split(np.argsort(values), _BINS)
    expected, actual = ([float(x[part].mean()) for part in order] for x in (values, right))
    axes.plot(expected, actual, color=COLOURS[0], marker="o", markersize=4, label="tenths of the places")
    axes.plot([0, 1], [0, 1], color="#777777", linestyle=":", label="equal")
    low = min(*expected, *actual) - 0.05
    axes.set(xlim=(low, 1), ylim=(low, 1))
    axes.set_xlabel("confidence of a place")
    axes.set_ylabel(f"share within {found.model.tolerance_mm:g} mm")
    axes.legend(fontsize=8, frameon=False)
