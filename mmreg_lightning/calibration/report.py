"""Tables, pictures and pages of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreg_lightning.benchmark.tables import new_figure, run_table
from mmreg_lightning.calibration.calibrate import Calibration, case_confidence
from mmreg_lightning.calibration.risk_coverage import RiskCoverage, risk_curve
from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 10
_GREY: Any = {"color": "#777777"}


def write_calibration(folder: Path, found: Calibration, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write confidence.json, cases.csv, risk_coverage.json, risk_coverage.png, report.md and report.html.

    Args:
        folder: of the calibration.
        found: of ``calibrate``.
        facts: what the page says about the run, ``title`` among it.

    Returns:
        Content of risk_coverage.json.
    """
    model = found.model
    rows = []
    for role, cases in (("calibration", found.fitted), ("test", found.tested)):
        for case, confidence in zip(cases, case_confidence(model, cases).tolist(), strict=True):
            own = {"role": role, "case": case.pair, "perturbation": case.change, "level": case.level}
            wrong = 100 * float((case.errors > model.tolerance_mm).mean())
            measures = {"dice_before": case.dice_before, "dice": case.dice, "wrong_percent": wrong}
            rows.append({**own, **measures, "confidence": confidence})
    summary = {
        **facts,
        "cases": {name: area._asdict() for name, area in found.cases.items()},
        "single_cues": {name: area._asdict() for name, area in found.rankings.items()},
        "places_roc_area": dict(found.places),
        "calibrated_on": dict(model.calibrated_on),
        "tolerance_mm": model.tolerance_mm,
        "low": model.low,
    }
    write_rows(folder / "cases.csv", rows)
    write_json(folder / "risk_coverage.json", summary)
    write_page(folder, facts["title"], _sections(found, facts))
    model.write(folder / "confidence.json")
    return summary


def _sections(found: Calibration, facts: Mapping[str, Any]) -> list[Section]:
    names = {"all": "confidence, all cases", "plain": "confidence, plain cases only"}
    table: Table = [["ranked by", "cases", "pairs", "area", "random", "oracle", "gain [95 %]"]]
    table += [_line(names[name], area) for name, area in found.cases.items()]
    table += [_line(f"{name.replace('_', ' ')} alone, all cases", area) for name, area in found.rankings.items()]
    coefficients = [[cue, f"{b:+.3f}"] for cue, b in zip(CUES, found.model.local[1:], strict=True)]
    about = found.model.calibrated_on
    roc = ", ".join(f"{value:.3f} ({name})" for name, value in found.places.items())
    what = (
        f"Fitted on {about['registrations']} registrations, tested on {len(found.tested)} of another split. "
        f"A surface is wrong beyond {found.model.tolerance_mm:g} mm, which "
        f"{about['wrong_percent']:.1f} % of the fitted places are."
    )
    explanation = (
        "Risk is 1 - mean Dice. Area: under the curve of the mean risk of the most trusted cases. Gain: 1 is the "
        "oracle, which ranks by Dice itself, 0 is random; the interval is a bootstrap over pairs."
    )
    return [
        (facts["title"], what),
        ("Risk and coverage", Plot("risk_coverage.png", _plot(found), "Risk, cases and places of the test")),
        ("", explanation),
        ("", table),
        ("", f"Places: area under the ROC curve of wrong places on organ surfaces {roc}."),
        ("The local model", [["cue", "coefficient, per standard deviation"], *coefficients]),
        ("Run", run_table(facts)),
    ]


def _line(name: str, area: RiskCoverage) -> list[str]:
    numbers = [f"{value:.4f}" for value in area[:3]]
    return [name, str(area.cases), str(area.groups), *numbers, area.gain_text()]


def _plot(found: Calibration) -> bytes:
    figure = new_figure(11, 3.7)
    panels = figure.subplots(1, 3)
    confidence = case_confidence(found.model, found.tested)
    dice = np.array([case.dice for case in found.tested])
    _draw_risk(panels[0], confidence, 1 - dice)
    _draw_cases(panels[1], found, confidence, dice)
    _draw_reliability(panels[2], found)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    return figure_png(figure)


def _draw_risk(axes: Axes, confidence: np.ndarray, risk: np.ndarray) -> None:
    coverage = np.arange(1, len(risk) + 1) / len(risk)
    axes.plot(coverage, risk_curve(confidence, risk), color=COLOURS[0], label="confidence")
    axes.plot(coverage, risk_curve(-risk, risk), color=COLOURS[2], linestyle="--", label="oracle")
    axes.axhline(float(risk.mean()), linestyle=":", label="random", **_GREY)
    axes.set(xlabel="coverage (share of cases, most trusted first)", ylabel="mean risk (1 - Dice)", xlim=(0, 1))
    axes.set_ylim(bottom=0)


def _draw_cases(axes: Axes, found: Calibration, confidence: np.ndarray, dice: np.ndarray) -> None:
    plain = np.array([case.change == "none" for case in found.tested])
    for keep, colour, marker, name in ((~plain, COLOURS[1], "s", "perturbed"), (plain, COLOURS[0], "o", "plain")):
        axes.scatter(confidence[keep], dice[keep], s=16, color=colour, marker=marker, label=name)
    axes.plot([0, 1], [0, 1], linestyle=":", label="equal", **_GREY)
    axes.axvline(found.model.low, linestyle="--", linewidth=1, label="warning below", **_GREY)
    axes.set(xlabel="confidence of the case (expected Dice)", ylabel="mean Dice", xlim=(0, 1), ylim=(0, 1))


def _draw_reliability(axes: Axes, found: Calibration) -> None:
    values = found.model.places(np.concatenate([case.cues for case in found.tested]))
    right = np.concatenate([case.errors for case in found.tested]) <= found.model.tolerance_mm
    order = np.array_split(np.argsort(values), _BINS)
    expected, actual = ([float(x[part].mean()) for part in order] for x in (values, right))
    axes.plot(expected, actual, color=COLOURS[0], marker="o", markersize=4, label="tenths of the places")
    axes.plot([0, 1], [0, 1], linestyle=":", label="equal", **_GREY)
    limits = (min(*expected, *actual) - 0.05, 1)
    axes.set(xlim=limits, ylim=limits, xlabel="confidence of a place")
    axes.set_ylabel(f"share within {found.model.tolerance_mm:g} mm")
