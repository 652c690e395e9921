"""Figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mmreg_lightning.inspection.rows import Row, averaged, grouped
from mmreg_lightning.inspection.study import Tables
from mmreg_lightning.reporting.pages import COLOURS


class Style(NamedTuple):
    """How a family is called and drawn in every figure."""

    name: str
    color: str
    marker: str
    linestyle: str


FAMILIES = {
    "learned": Style("learned", COLOURS[0], "o", "-"),
    "mind_ssc": Style("MIND-SSC", COLOURS[1], "s", "--"),
    "intensity": Style("intensity", COLOURS[3], "^", ":"),
    "labels": Style("true labels", COLOURS[2], "D", "-."),
    "before": Style("without a match", COLOURS[7], "", "-"),
}
_GREY = "#666666"


def style_of(family: str) -> Style:
    """The style of a family; one of another name is drawn as learned features are, whose place it has."""
    return FAMILIES.get(family) or FAMILIES["learned"]._replace(name=family)


def distance_figure(tables: Tables) -> Figure:
    """Ratio of distances of each organ."""
    organs = list(dict.fromkeys(row["organ"] for row in tables["distances"]))
    rows = [{**row, "place": -organs.index(row["organ"])} for row in tables["distances"]]
    label = "distance between modalities / distance between organs (no unit; 1 = not separated)"
    figure = _curves([[("", rows)]], (8, 1.3 + 0.3 * len(organs)), {"ratio": label}, {"place": ""}, linestyle="")
    axes = figure.axes[0]
    axes.axvline(1, color=_GREY, linewidth=1, linestyle="--")
    axes.set_yticks([-n for n in range(len(organs))], ["mean" if organ == "all" else organ for organ in organs])
    axes.set_xlim(left=0)
    return figure


def probe_figure(tables: Tables) -> Figure:
    """Balanced accuracy for each modality to train on and to test on."""
    rows = tables["probe"]
    means = [row for row in rows if row["organ"] == "all"]
    # Across modalities first.
    ways = sorted(grouped(means, "trained_on", "tested_on"), key=lambda way: way[0] == way[1])
    families = _families(means)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(families)
    for n, (family, own) in enumerate(families):
        value = {(row["trained_on"], row["tested_on"]): row["recall"] for row in own}
        x = np.arange(len(ways)) + (n - (len(families) - 1) / 2) * width
        style = style_of(family)
        bars = axes.bar(x, [value[way] for way in ways], width * 0.92, color=style.color, label=style.name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    labels = len({row["organ"] for row in rows}) - 1
    axes.axhline(1 / labels, color="black", linewidth=1, linestyle="--", label=f"chance (1 of {labels})")
    axes.set_xticks(range(len(ways)), [f"trained on {a},\ntested on {b}" for a, b in ways])
    axes.set_ylabel("balanced accuracy (no unit)")
    axes.set_ylim(0, 1.05)
    return _with_legend(figure)


def retrieval_figure(tables: Tables) -> Figure:
    """Fraction of points within a distance, for landmarks and for surface points."""
    panels = []
    for name, target in (("landmarks", "the counterpart of a landmark"), ("surfaces", "the organ's surface")):
        errors = {
            family: sorted(row["error_mm"] for row in own) for family, own in _families(tables[f"retrieval_{name}"])
        }
        rows = [
            {"family": family, "mm": mm, "share": number / len(own)}
            for family, own in errors.items()
            for number, mm in enumerate(own, 1)
        ]
        if rows:
            panels.append((f"distance from {target}\n({len(errors['before'])} points)", rows))
    x, y = {"mm": "error of the best match (mm)"}, {"share": "fraction of points"}
    figure = _curves([panels], (4.8 * len(panels), 3.8), x, y, drawstyle="steps-post", marker="")
    figure.axes[0].set(xlim=(0, 40), ylim=(0, 1))
    return figure


def capture_figure(tables: Tables) -> Figure:
    """Cosine over the size of the displacement, a panel for each kind and pyramid level."""
    grid = [
        [
            (f"{kind}, level {level}", averaged(own, "organ", ["cosine"]))
            for (level,), own in grouped(rows, "level").items()
        ]
        for (kind,), rows in grouped(tables["capture"], "kind").items()
    ]
    size = 3.4 * len(grid[0]), 2.7 * len(grid) + 0.5
    figure = _curves(grid, size, {"mm": "displacement (mm)"}, {"cosine": "cosine (no unit)"}, markersize=4)
    for axes in figure.axes:
        axes.axhline(0, color=_GREY, linewidth=0.8)
    return figure


def landscape_figure(tables: Tables) -> Figure:
    """Energy along rigid shifts, a panel for each axis."""
    panels = [(axis, rows) for (axis,), rows in grouped(tables["landscape"], "axis").items()]
    x, y = {"mm": "shift from the alignment (mm)"}, {"energy": "energy / its mean along the line"}
    figure = _curves([panels], (3.4 * len(panels), 3.2), x, y, marker="")
    for axes in figure.axes:
        axes.axvline(0, color=_GREY, linewidth=0.8)
    return figure


def organ_figure(tables: Tables) -> Figure:
    """Cosine of rigid shifts at the finest level by organ and size, a panel for each family."""
    finest = min(row["level"] for row in tables["capture"])
    rows = [row for row in tables["capture"] if row["kind"] == "rigid" and row["level"] == finest]
    organs, sizes = list(dict.fromkeys(row["organ"] for row in rows)), sorted({row["mm"] for row in rows})
    families = _families(rows)
    figure = Figure(figsize=(2.1 + 2.3 * len(families), 1.8 + 0.27 * len(organs)), layout="constrained")
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for axes, (family, own) in zip(panels, families, strict=True):
        value = {(row["organ"], row["mm"]): row["cosine"] for row in own}
        table = np.array([[value.get((organ, size), np.nan) for size in sizes] for organ in organs])
        # Orange, white and blue are distinct with every kind of colour vision; lightness shows the distance from 0.
        image = axes.imshow(table, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
        axes.set_title(style_of(family).name, fontsize=10)
        axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes], fontsize=8, rotation=90)
        axes.set_yticks(range(len(organs)), organs, fontsize=8)
        axes.set_xlabel("shift (mm)", fontsize=9)
    figure.colorbar(image, ax=figure.axes, shrink=0.8).set_label(f"cosine at level {finest} (no unit)", fontsize=9)
    return figure


def _curves(
    grid: Sequence[Sequence[tuple[str, Sequence[Row]]]],
    size: tuple[float, float],
    x: Mapping[str, str],
    y: Mapping[str, str],
    **style: Any,
) -> Figure:
    """Panels with common axes and one curve for each family.

    Args:
        grid: title and rows of each panel.
        size: of the figure, inches.
        x, y: column and label of each axis.
        style: replaces entries of ``Style``.
    """
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(grid), len(grid[0]), sharex=True, sharey=True, squeeze=False)
    for axes, (title, rows) in zip(panels.flat, (panel for line in grid for panel in line), strict=True):
        for family, own in _families(rows):
            options = {**style_of(family)._asdict(), **style}
            points = ([row[column] for row in own] for column in (*x, *y))
            axes.plot(*points, label=options.pop("name"), **options)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel(*x.values())
    for axes in panels[:, 0]:
        axes.set_ylabel(*y.values())
    return _with_legend(figure)


def _families(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(family, own) for (family,), own in grouped(rows, "family").items()]


def _with_legend(figure: Figure) -> Figure:
    """All panels show the same families: one legend above them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure
