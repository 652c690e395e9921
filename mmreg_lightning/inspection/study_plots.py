"""Plots of a study, each as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmreg_lightning.inspection.families import COLOURS, MARKERS, NAMES
from mmreg_lightning.reporting.pages import figure_png

Row = dict[str, Any]
_LINES = {"learned": "-", "mind_ssc": "--", "intensity": ":", "labels": "-."}
_GREY = "#666666"


def distance_plot(rows: Sequence[Row]) -> bytes:
    """Ratio of distances of each organ, a marker a family."""
    organs = [row["organ"] for row in rows if row["family"] == rows[0]["family"] and row["organ"] != "all"]
    figure = Figure(figsize=(8, 1.6 + 0.3 * len(organs)), layout="constrained")
    axes = figure.subplots()
    places = {organ: -n for n, organ in enumerate([*organs, "all"])}
    for family in _families(rows):
        own = [row for row in rows if row["family"] == family]
        axes.plot(
            [row["ratio"] for row in own],
            [places[row["organ"]] for row in own],
            MARKERS[family],
            color=COLOURS[family],
            label=NAMES[family],
        )
    axes.axvline(1, color=_GREY, linewidth=1, linestyle="--")
    axes.set_yticks(list(places.values()), ["mean" if organ == "all" else organ for organ in places])
    axes.set_xlim(left=0)
    axes.set_xlabel("distance between modalities / distance between organs (no unit; 1 = organ not told apart)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure_png(figure)


def probe_plot(rows: Sequence[Row]) -> bytes:
    """Balanced accuracy for every way of learning and testing, a bar a family."""
    means = [row for row in rows if row["organ"] == "all"]
    ways = list(dict.fromkeys((row["trained_on"], row["tested_on"]) for row in means))
    ways.sort(key=lambda way: way[0] == way[1])  # across modalities first
    families = _families(rows)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(families)
    for n, family in enumerate(families):
        value = {(r["trained_on"], r["tested_on"]): r["recall"] for r in means if r["family"] == family}
        x = np.arange(len(ways)) + (n - (len(families) - 1) / 2) * width
        bars = axes.bar(x, [value[way] for way in ways], width * 0.92, color=COLOURS[family], label=NAMES[family])
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    labels = len({row["organ"] for row in rows}) - 1
    axes.axhline(1 / labels, color="black", linewidth=1, linestyle="--", label=f"guessing (1 of {labels})")
    axes.set_xticks(range(len(ways)), [f"learned from {a},\ntested on {b}" for a, b in ways])
    axes.set_ylabel("balanced accuracy (no unit)")
    axes.set_ylim(0, 1.05)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure_png(figure)


def retrieval_plot(landmarks: Sequence[Row], surfaces: Sequence[Row]) -> bytes:
    """Share of points within a distance, for landmarks and for surface points."""
    shown = [
        (rows, title)
        for rows, title in ((landmarks, "landmarks: distance from the counterpart"), (surfaces, "surface points:"))
        if rows
    ]
    figure = Figure(figsize=(4.8 * len(shown), 3.8), layout="constrained")
    for axes, (rows, title) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        for family in dict.fromkeys(row["family"] for row in rows):
            errors = np.sort([row["error_mm"] for row in rows if row["family"] == family])
            share = np.arange(1, len(errors) + 1) / len(errors)
            style = _LINES.get(family, "-")
            colour = COLOURS.get(family, "#999999")
            axes.step(errors, share, where="post", color=colour, linestyle=style, label=NAMES.get(family, "no match"))
        axes.set_xlim(0, 40)
        axes.set_ylim(0, 1)
        full = title if rows is landmarks else f"{title} distance from the organ's surface"
        axes.set_title(f"{full}\n({len(errors)} points)", fontsize=10)
        axes.set_xlabel("error of the best match (mm)")
        axes.set_ylabel("share of points within it")
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure_png(figure)


def capture_plot(rows: Sequence[Row]) -> bytes:
    """Cosine against the size of the displacement, a panel for each kind and pyramid level."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    levels = list(dict.fromkeys(row["level"] for row in rows))
    figure = Figure(figsize=(3.4 * len(levels), 2.7 * len(kinds) + 0.5), layout="constrained")
    panels = figure.subplots(len(kinds), len(levels), sharex=True, sharey=True, squeeze=False)
    for line, kind in zip(panels, kinds, strict=True):
        for axes, level in zip(line, levels, strict=True):
            for family in _families(rows):
                own = [r for r in rows if (r["family"], r["kind"], r["level"]) == (family, kind, level)]
                sizes = sorted({r["mm"] for r in own})
                means = [np.mean([r["cosine"] for r in own if r["mm"] == size]) for size in sizes]
                style = {"color": COLOURS[family], "marker": MARKERS[family], "linestyle": _LINES[family]}
                axes.plot(sizes, means, markersize=4, label=NAMES[family], **style)
            axes.axhline(0, color=_GREY, linewidth=0.8)
            axes.grid(alpha=0.3)
            axes.set_title(f"{kind}, level {level}", fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("displacement (mm)")
    for line in panels:
        line[0].set_ylabel("cosine (no unit)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure_png(figure)


def capture_by_organ_plot(rows: Sequence[Row]) -> bytes:
    """Cosine of rigid shifts at the finest level: organs against sizes, a panel a family."""
    finest = min(row["level"] for row in rows)
    own = [row for row in rows if row["kind"] == "rigid" and row["level"] == finest]
    organs = list(dict.fromkeys(row["organ"] for row in own))
    sizes = sorted({row["mm"] for row in own})
    families = _families(own)
    figure = Figure(figsize=(2.1 + 2.3 * len(families), 1.8 + 0.27 * len(organs)), layout="constrained")
    for axes, family in zip(np.atleast_1d(figure.subplots(1, len(families), sharey=True)), families, strict=True):
        value = {(r["organ"], r["mm"]): r["cosine"] for r in own if r["family"] == family}
        table = np.array([[value.get((organ, size), np.nan) for size in sizes] for organ in organs])
        # Orange-white-blue is told apart with every kind of colour vision, and by lightness from its middle.
        image = axes.imshow(table, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
        axes.set_title(NAMES[family], fontsize=10)
        axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes], fontsize=8, rotation=90)
        axes.set_yticks(range(len(organs)), organs, fontsize=8)
        axes.set_xlabel("shift (mm)", fontsize=9)
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.8)
    bar.set_label(f"cosine at level {finest} (no unit)", fontsize=9)
    return figure_png(figure)


def landscape_plot(rows: Sequence[Row]) -> bytes:
    """Energy along rigid shifts, a panel an axis."""
    directions = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(3.4 * len(directions), 3.2), layout="constrained")
    panels = figure.subplots(1, len(directions), sharey=True, squeeze=False)[0]
    for axes, direction in zip(panels, directions, strict=True):
        for family in _families(rows):
            own = [row for row in rows if (row["family"], row["axis"]) == (family, direction)]
            x, y = [row["mm"] for row in own], [row["energy"] for row in own]
            axes.plot(x, y, color=COLOURS[family], linestyle=_LINES[family], label=NAMES[family])
        axes.axvline(0, color=_GREY, linewidth=0.8)
        axes.set_title(direction, fontsize=10)
        axes.set_xlabel("shift from the alignment (mm)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("energy / its mean along the line")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure_png(figure)


def _families(rows: Sequence[Row]) -> list[str]:
    return [name for name in NAMES if any(row["family"] == name for row in rows)]
