"""Cells and tables that several pages share."""

from __future__ import annotations

import pytest

from mmreg_lightning.benchmark.tables import box_plot, new_figure, number, run_table, setting_text


def test_cells():
    assert (number(1.2346, 3), number(1500.0, 0), number(None, 3)) == ("1.235", "1500", "–")
    assert setting_text({"solver.a": 1, "b": [1, 2]}) == "solver.a=1, b=[1, 2]" and setting_text({}) == "the default"


def test_a_run_is_described_without_the_heading_of_its_page():
    assert run_table({"title": "t", "what": "w", "seed": 1}) == [["what", "value"], ["seed", "1"]]


@pytest.mark.parametrize("horizontal", [True, False])
def test_boxes_have_names_colours_and_whiskers_over_the_range(horizontal):
    figure = new_figure(4, 3)
    values = {"a": [0.0, 0.5, 1.0], "b": [0.2, 0.2, 0.9]}
    assert box_plot(figure, values, ["red", "blue"], "Dice", horizontal).startswith(b"\x89PNG")
    (axes,) = figure.axes
    ticks = axes.get_yticklabels() if horizontal else axes.get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["a", "b"]
    assert (axes.get_xlabel() if horizontal else axes.get_ylabel()) == "Dice"
    assert [patch.get_facecolor() for patch in axes.patches] == [(1, 0, 0, 0.6), (0, 0, 1, 0.6)]
    ends = [float(x) for line in axes.lines for x in (line.get_xdata() if horizontal else line.get_ydata())]
    assert (min(ends), max(ends)) == (0.0, 1.0)
