"""The summary table and the figures of a study."""

from __future__ import annotations

import pytest

from mmreg_lightning.inspection.study_plots import FAMILIES, capture_figure, distance_figure, retrieval_figure
from mmreg_lightning.inspection.study_report import summary_table


def test_the_summary_has_one_row_for_each_family():
    summary = {
        "distance_ratio": {"learned": 0.504},
        "probe_balanced_accuracy": {"learned": {"MR to MR": 0.6, "CT to CT": 0.8, "MR to CT": 0.25, "CT to MR": 0.75}},
        "retrieval_landmarks": {"learned": {"median_mm": 5.04}, "before": {"median_mm": 9.0}},
        "retrieval_surfaces": {},
        "landscape": {"learned": {"basin_mm": float("nan")}, "labels": {"basin_mm": 104.0}},
    }
    header, *rows = summary_table(summary)
    assert [row[0] for row in rows] == ["learned", "MIND-SSC", "intensity", "true labels", "without a match"]
    assert rows[0][1:] == ["0.50", "0.70", "0.50", "5.0", "–", "–"]
    assert rows[3][1:] == ["–", "–", "–", "–", "–", "104"]
    assert rows[4][1:] == ["–", "–", "–", "9.0", "–", "–"]
    assert len(header) == 7


def test_distances_are_drawn_at_their_organ():
    rows = [
        {"family": family, "organ": organ, "ratio": ratio}
        for family, ratio in (("learned", 0.25), ("intensity", 0.75))
        for organ in ("liver", "all")
    ]
    axes = distance_figure({"distances": rows}).axes[0]
    learned, intensity = axes.lines[:2]
    assert learned.get_xydata().tolist() == [[0.25, 0], [0.25, -1]]
    assert intensity.get_color() == FAMILIES["intensity"].color and intensity.get_linestyle() == "None"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["liver", "mean"]


def test_the_curve_of_retrieval_rises_to_1():
    rows = [{"family": family, "error_mm": mm} for family in ("before", "learned") for mm in (8.0, 2.0, 30.0, 4.0)]
    figure = retrieval_figure({"retrieval_landmarks": [], "retrieval_surfaces": rows})
    (axes,) = figure.axes
    assert axes.lines[1].get_xydata().tolist() == [[2, 0.25], [4, 0.5], [8, 0.75], [30, 1]]
    assert axes.get_title() == "distance from the organ's surface\n(4 points)"


def test_a_panel_of_the_capture_range_has_the_means_over_organs():
    rows = [
        {"family": "learned", "kind": kind, "mm": mm, "level": level, "organ": organ, "cosine": mm / 10 + offset}
        for kind in ("rigid", "smooth")
        for mm in (1.0, 2.0)
        for level in (2, 1)
        for organ, offset in (("liver", 0.0), ("spleen", 0.2))
    ]
    figure = capture_figure({"capture": rows})
    assert [axes.get_title() for axes in figure.axes] == [
        "rigid, level 2",
        "rigid, level 1",
        "smooth, level 2",
        "smooth, level 1",
    ]
    assert figure.axes[3].lines[0].get_xydata()[:, 1].tolist() == pytest.approx([0.2, 0.3])
