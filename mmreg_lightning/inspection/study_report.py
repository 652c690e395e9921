"""The files of a study: CSV tables, plots, and a page in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.files import write_json, write_rows
from mmreg_lightning.inspection.families import NAMES
from mmreg_lightning.inspection.study import Row, Study, retrieval_by_organ, study_summary
from mmreg_lightning.inspection.study_plots import (
    capture_by_organ_plot,
    capture_plot,
    distance_plot,
    landscape_plot,
    probe_plot,
    retrieval_plot,
)
from mmreg_lightning.reporting.pages import Plot, Section, Table, write_page

TABLES = ("distances", "probe", "retrieval_landmarks", "retrieval_surfaces", "capture", "landscape")
PLOTS = ("distances", "probe", "retrieval", "capture", "capture_organs", "landscape")
OUTPUTS = (
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.png" for name in PLOTS),
    "report.md",
    "report.html",
    "run.yaml",
    "features.json",
)
"""In the order in which they are written: where the last one lies, all others do."""

_EXPLANATIONS = {
    "distances": "Distance in feature space of a voxel of an organ in one modality from a voxel of the same organ in "
    "the other, over the distance from voxels of other organs and of the background (root mean squares over all pairs "
    "of voxels). 0: modality makes no difference; 1: the features cannot tell the organ from others.",
    "probe": "Multinomial logistic regression of the organ labels (and the background) on single voxels' features, "
    "learned from one modality of some subjects and tested on either modality of others. Balanced accuracy: the mean "
    "recall of the labels.",
    "landmarks": "Landmarks near an organ's surface in the fixed image, whose counterparts in the moving image are "
    "known. Their best match by features alone, without any smoothness, within 40 mm; its distance from the "
    "counterpart. 'before' stays where it is.",
    "surfaces": "Points on organ surfaces in the fixed image: distance of the best match within 40 mm from the surface "
    "of the same organ in the moving image.",
    "capture": "Aligned pairs whose fixed image is displaced by a known amount: mean cosine between the features' "
    "first Taylor step and the true direction near organ surfaces, at each level of the pyramid (feature voxels are "
    "averaged over blocks of so many a side). A surface shows its normal direction only, so that even true labels stay "
    "below 1. -1 points away, 0 is what a random step has.",
    "organs": "The same by organ, for rigid shifts, at the finest level: voxels of the coarser ones "
    "hold several organs.",
    "landscape": "Mean squared residual of the features along rigid shifts of aligned pairs, over its mean along the "
    "line. A descent finds the alignment from where the curve falls towards 0 mm. Ripples of one feature voxel come "
    "from linear interpolation, which smooths features between voxels; the basin of the summary, from the lowest "
    "energy to where it stops rising on one side, is therefore that of shifts by whole voxels.",
}


def write_study(
    folder: Path, study: Study, facts: Mapping[str, Any], title: str, command: str | None
) -> dict[str, Any]:
    """Write everything but run.yaml and features.json, which the caller ends with.

    Args:
        folder: exists.
        study: what was measured.
        facts: further entries of the page's last table.
        title: of the page.
        command: the command line.

    Returns:
        ``study_summary``.
    """
    summary = study_summary(study)
    tables = {
        "distances": study.distances,
        "probe": study.probe,
        "retrieval_landmarks": retrieval_by_organ(study.landmarks),
        "retrieval_surfaces": retrieval_by_organ(study.surfaces),
        "capture": _rounded(study.capture),
        "landscape": _rounded(study.landscape),
    }
    for name in TABLES:
        write_rows(folder / f"{name}.csv", _rounded(tables[name]))
    write_page(folder, title, _sections(study, summary, {**facts, "command": command or ""}, title))
    return summary


def _sections(study: Study, summary: Mapping[str, Any], facts: Mapping[str, Any], title: str) -> list[Section]:
    aligned = "their known displacement" if study.exact else "a registration of the true labels (approximate)"
    lead = (
        f"Measured on {study.subjects} subjects of the split {study.split}; the probe learned from "
        f"{study.probe_subjects} subjects of the split {study.probe_split}. All families see the same voxels, points "
        f"and displacements. Pairs of the last three pictures were aligned by {aligned}."
    )
    sections: list[Section] = [(title, lead), ("Summary", summary_table(summary))]
    explained = _EXPLANATIONS
    sections += [
        ("Distance between modalities and between organs", explained["distances"]),
        ("", Plot("distances.png", distance_plot(study.distances), "Between modalities over between organs")),
        ("Linear probe", explained["probe"]),
        ("", Plot("probe.png", probe_plot(study.probe), "Balanced accuracy of the probe")),
        ("Retrieval", explained["landmarks"] if study.landmarks else "There are no landmarks near organ surfaces."),
        ("", explained["surfaces"]),
        ("", Plot("retrieval.png", retrieval_plot(study.landmarks, study.surfaces), "Error of the best match")),
        ("Capture range", explained["capture"]),
        ("", Plot("capture.png", capture_plot(study.capture), "Cosine of the first step with the true direction")),
        ("", explained["organs"]),
        ("", Plot("capture_organs.png", capture_by_organ_plot(study.capture), "The same by organ")),
        ("Energy landscape", explained["landscape"]),
        ("", Plot("landscape.png", landscape_plot(study.landscape), "Energy along rigid shifts")),
        ("Run", [["what", "value"], *([key, str(value)] for key, value in facts.items())]),
    ]
    return sections


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A row a family: ratio of distances, accuracy within and across modalities, median errors, basin."""
    header = [
        "",
        "distance ratio",
        "probe, same modality",
        "probe, other modality",
        "landmark match, mm (median)",
        "surface match, mm (median)",
        "energy's basin, mm",
    ]
    table = [header]
    for family, name in NAMES.items():
        accuracy = summary["probe_balanced_accuracy"].get(family, {})
        same = [v for way, v in accuracy.items() if len(set(way.split(" to "))) == 1]
        other = [v for way, v in accuracy.items() if len(set(way.split(" to "))) == 2]
        landmark = summary["retrieval_landmarks"].get(family, {}).get("median_mm")
        surface = summary["retrieval_surfaces"].get(family, {}).get("median_mm")
        basin = summary["landscape"].get(family, {}).get("basin_mm")
        table.append(
            [
                name,
                _number(summary["distance_ratio"].get(family), 2),
                _number(sum(same) / len(same) if same else None, 2),
                _number(sum(other) / len(other) if other else None, 2),
                _number(landmark, 1),
                _number(surface, 1),
                _number(basin, 0),
            ]
        )
    before = [summary[f"retrieval_{what}"].get("before", {}).get("median_mm") for what in ("landmarks", "surfaces")]
    table.append(["without a match", "–", "–", "–", *(_number(value, 1) for value in before), "–"])
    return table


def write_end(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write features.json, the last file."""
    write_json(folder / "features.json", summary)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def _rounded(rows: Sequence[Row]) -> list[Row]:
    return [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
