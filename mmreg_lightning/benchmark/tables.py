"""Parts that the pages of several experiments share: columns, cells, tables and box plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmreg_lightning.reporting.pages import Table, figure_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    "dice": ("Dice", 3),
    "dice30": ("Dice, 30th percentile", 3),
    "hd95_mm": ("HD95, mm", 2),
    "assd_mm": ("ASSD, mm", 2),
    "tre_mm": ("TRE, mm", 2),
    "folds_percent": ("folds, %", 3),
    "sdlogj": ("SDlogJ", 3),
    "cosine": ("cosine", 2),
    "seconds": ("s / pair", 1),
    "peak_memory_mb": ("peak MB", 0),
}
"""Title and digits of each measure."""


def number(value: float | None, digits: int) -> str:
    """A cell: the number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def setting_text(setting: Mapping[str, Any]) -> str:
    """``KEY=VALUE, ...``."""
    return ", ".join(f"{key}={value}" for key, value in setting.items()) or "the default"


def run_table(facts: Mapping[str, Any]) -> Table:
    """What is known of a run, besides the title and the introduction of its page."""
    return [["what", "value"], *([key, str(value)] for key, value in facts.items() if key not in ("title", "what"))]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def box_plot(
    figure: Figure, values: Mapping[str, Sequence[float]], colours: Sequence[str], label: str, horizontal: bool
) -> bytes:
    """A box of each entry as PNG: quartiles and median, whiskers over the range, and the values where boxes stand.

    Args:
        figure: empty.
        values: name -> values.
        colours: of the boxes.
        label: of the axis of the values.
        horizontal: boxes lie, the first one below; else they stand.
    """
    axes = figure.subplots()
    style: Any = {"widths": 0.6, "patch_artist": True, "whis": (0, 100), "medianprops": {"color": "black"}}
    orientation: Any = "horizontal" if horizontal else "vertical"
    box = axes.boxplot(list(values.values()), orientation=orientation, tick_labels=list(values), **style)
    for patch, colour in zip(box["boxes"], colours, strict=True):
        patch.set(facecolor=colour, alpha=0.6)
    if not horizontal:
        for place, own in enumerate(values.values(), start=1):
            axes.plot([place] * len(own), own, "o", color="black", markersize=3)
    (axes.set_xlabel if horizontal else axes.set_ylabel)(label)
    axes.grid(axis="x" if horizontal else "y", alpha=0.3)
    return figure_png(figure)
