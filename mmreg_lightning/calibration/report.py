"""Tables, pictures and pages of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmreg_lightning.benchmark.tables import new_figure, run_table
from mmreg_lightning.calibration.calibrate import Calibration, case_confidence
from mmreg_lightning.calibration.risk_coverage import risk_curve
from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.reporting.pages import COLOURS, Plot, Section, Table, figure_png, write_page

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
            key = {
                "role": role,
                "case": case.source.files.name,
                "perturbation": case.source.kind,
                "level": case.source.level,
            }
            wrong = 100 * float((case.errors > model.tolerance_mm).mean())
            measures = {"dice_before": case.dice_before, "dice": case.dice, "wrong_percent": wrong}
            rows.append({**key, **measures, "confidence": confidence})
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
    ranked = {"confidence, all cases": found.cases["all"], "confidence, plain cases only": found.cases["plain"]}
    ranked |= {f"{name.replace('_', ' ')} alone, all cases": area for name, area in found.rankings.items()}
    table: Table = [["ranked by", "cases", "pairs", "area", "random", "oracle", "gain [95 %]"]]
    for name, area in ranked.items():
        numbers = (f"{value:.4f}" for value in area[:3])
        table.append([name, str(area.cases), str(area.groups), *numbers, area.gain_text()])
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


def _plot(found: Calibration) -> bytes:
    figure = new_figure(11, 3.7)
    risks, cases, places = figure.subplots(1, 3)
    model, tested = found.model, found.tested
    confidence, dice = case_confidence(model, tested), np.array([case.dice for case in tested])
    coverage = np.arange(1, len(dice) + 1) / len(dice)
    risks.plot(coverage, risk_curve(confidence, 1 - dice), color=COLOURS[0], label="confidence")
    risks.plot(coverage, risk_curve(dice, 1 - dice), color=COLOURS[2], linestyle="--", label="oracle")
    risks.axhline(1 - float(dice.mean()), linestyle=":", label="random", **_GREY)
    risks.set(xlabel="coverage (share of cases, most trusted first)", ylabel="mean risk (1 - Dice)", xlim=(0, 1))
    risks.set_ylim(bottom=0)
    plain = np.array([case.source.perturbation is None for case in tested])
    for keep, colour, marker, name in ((~plain, COLOURS[1], "s", "perturbed"), (plain, COLOURS[0], "o", "plain")):
        cases.scatter(confidence[keep], dice[keep], s=16, color=colour, marker=marker, label=name)
    cases.axvline(model.low, linestyle="--", linewidth=1, label="warning below", **_GREY)
    cases.set(xlabel="confidence of the case (expected Dice)", ylabel="mean Dice", xlim=(0, 1), ylim=(0, 1))
    values = model.places(np.concatenate([case.cues for case in tested]))
    right = np.concatenate([case.errors for case in tested]) <= model.tolerance_mm
    bins = np.array_split(np.argsort(values), _BINS)
    expected, actual = ([float(x[part].mean()) for part in bins] for x in (values, right))
    places.plot(expected, actual, color=COLOURS[0], marker="o", markersize=4, label="tenths of the places")
    limits = (min(*expected, *actual) - 0.05, 1)
    places.set(xlim=limits, ylim=limits, xlabel="confidence of a place")
    places.set_ylabel(f"share within {model.tolerance_mm:g} mm")
    for axes in (risks, cases, places):
        if axes is not risks:
            axes.plot([0, 1], [0, 1], linestyle=":", label="equal", **_GREY)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    return figure_png(figure)
