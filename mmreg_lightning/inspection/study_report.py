"""The files of a study: CSV tables, plots, and a page in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from mmreg_lightning.files import write_rows
from mmreg_lightning.inspection import study_plots
from mmreg_lightning.inspection.rows import Row
from mmreg_lightning.inspection.study import Tables, retrieval_by_organ
from mmreg_lightning.reporting.pages import Plot, Section, Table, figure_png, write_page

PLOTS: Mapping[str, tuple[Callable[[Tables], Figure], str, str, str]] = {
    "distances": (
        study_plots.distance_figure,
        "Between modalities over between organs",
        "Distance between modalities and between organs",
        "Distance in feature space of a voxel of an organ in one modality from a voxel of the same organ in the other, "
        "divided by the distance from voxels of other organs and of the background (root mean squares over all pairs "
        "of voxels). 0: the modality makes no difference. 1: the features cannot separate the organ from others.",
    ),
    "probe": (
        study_plots.probe_figure,
        "Balanced accuracy of the probe",
        "Linear probe",
        "Multinomial logistic regression of the organ labels (and the background) on the features of single voxels. It "
        "is trained on one modality of some subjects and tested on both modalities of other subjects. Balanced "
        "accuracy is the mean recall of the labels.",
    ),
    "retrieval": (
        study_plots.retrieval_figure,
        "Error of the best match",
        "Retrieval",
        "The best match of a point of the fixed image within 40 mm in the moving image, by features alone and without "
        "any smoothness. Landmarks are those near an organ's surface; the error is the distance from the known "
        "counterpart. Surface points lie on organ surfaces; the error is the distance from the surface of the same "
        "organ. 'Without a match' is the error of a point that stays at its place.",
    ),
    "capture": (
        study_plots.capture_figure,
        "Cosine of the first step with the true direction",
        "Capture range",
        "The fixed image of an aligned pair is displaced by a known amount: mean cosine between the first Taylor step "
        "of the features and the true direction near organ surfaces, at each level of the pyramid (the level is the "
        "side of the blocks of feature voxels that are averaged). A surface shows its normal direction only, so even "
        "true labels stay below 1. A random step has 0, a step in the opposite direction -1.",
    ),
    "capture_organs": (
        study_plots.organ_figure,
        "Cosine of the first step by organ",
        "",
        "By organ, for rigid shifts at the finest level; voxels of the coarser levels contain several organs.",
    ),
    "landscape": (
        study_plots.landscape_figure,
        "Energy along rigid shifts",
        "Energy landscape",
        "Mean squared residual of the features along rigid shifts of aligned pairs, divided by its mean along the "
        "line. A descent finds the alignment from every shift at which the curve falls towards 0 mm. Linear "
        "interpolation between voxels smooths the features and causes ripples of one feature voxel. The basin in the "
        "summary extends from the lowest energy to where the energy stops rising on one side; it is that of shifts by "
        "whole voxels.",
    ),
}
"""Figure, caption, heading and explanation by the name of the file; without a heading it continues the section."""
TABLES = ("distances", "probe", "retrieval_landmarks", "retrieval_surfaces", "capture", "landscape")
OUTPUTS = (*(f"{name}.csv" for name in TABLES), *(f"{name}.png" for name in PLOTS), "report.md", "report.html")
"""In the order in which they are written."""


def write_study(folder: Path, tables: Tables, summary: Mapping[str, Any], facts: Mapping[str, Any], title: str) -> None:
    """Write the files that ``OUTPUTS`` names.

    Args:
        folder: exists.
        tables, summary: of ``Study.run``.
        facts: entries of the page's last table.
        title: of the page.
    """
    for name in TABLES:
        rows = retrieval_by_organ(tables[name]) if name.startswith("retrieval") else tables[name]
        write_rows(folder / f"{name}.csv", _rounded(rows))
    lead = (
        f"Measured on {summary['subjects']} subjects of the split {summary['split']}; the probe was trained on "
        f"{summary['probe_subjects']} subjects of the split {summary['probe_split']}. All families get the same "
        "voxels, points and displacements. Alignment of the pairs for capture range and energy landscape: "
        f"{summary['aligned_by']}."
    )
    sections: list[Section] = [(title, lead), ("Summary", summary_table(summary))]
    for name, (figure, caption, heading, explanation) in PLOTS.items():
        if name == "retrieval" and not tables["retrieval_landmarks"]:
            explanation += " There are no landmarks near organ surfaces."
        plot = Plot(f"{name}.png", figure_png(figure(tables)), caption)
        sections += [(heading, explanation), ("", plot)]
    sections.append(("Run", [["what", "value"], *([key, str(value)] for key, value in facts.items())]))
    write_page(folder, title, sections)


def summary_table(summary: Mapping[str, Any]) -> Table:
    """One row for each family: ratio of distances, accuracy of the probe, median errors of matches, basin."""
    columns = ["distance ratio", "probe, same modality", "probe, other modality", "landmark match, mm (median)"]
    table = [["", *columns, "surface match, mm (median)", "energy's basin, mm"]]
    measured = [family for family in summary["distance_ratio"] if family not in study_plots.FAMILIES]
    for family in (*measured, *study_plots.FAMILIES):
        if family == "learned" and measured:
            continue  # others were measured in their place
        style = study_plots.style_of(family)
        ways = [(*way.split(" to "), v) for way, v in summary["probe_balanced_accuracy"].get(family, {}).items()]
        same, other = ([v for a, b, v in ways if (a == b) is equal] for equal in (True, False))
        errors = (summary[f"retrieval_{name}"].get(family, {}).get("median_mm") for name in ("landmarks", "surfaces"))
        values = [
            (summary["distance_ratio"].get(family), 2),
            *((fmean(found) if found else None, 2) for found in (same, other)),
            *((error, 1) for error in errors),
            (summary["landscape"].get(family, {}).get("basin_mm"), 0),
        ]
        table.append([style.name, *("–" if v is None or v != v else f"{v:.{digits}f}" for v, digits in values)])
    return table


def _rounded(rows: Sequence[Row]) -> list[Row]:
    return [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
