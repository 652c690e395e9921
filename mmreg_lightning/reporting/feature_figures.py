"""Still pictures of features: channels, common colours, effect sizes, similarity to a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.reporting.planes import VIEWS, View, cut, extent

_COLUMNS = 9  # panels beside each other: the image and eight channels
_POINT = "#D55E00"


@dataclass(frozen=True)
class FeaturePicture:
    """An image with its features; both grids share one centre and direction.

    Attributes:
        title: of the image.
        image: (I, J, K) in [0, 1].
        spacing: (3,) of it, mm.
        features: (C, i, j, k).
        feature_spacing: (3,) of theirs, mm.
        colours: (3, i, j, k) in [0, 1], see ``pca_colours``.
        focus: (3,) where the planes cross, mm from the centre.
    """

    title: str
    image: Tensor
    spacing: Sequence[float]
    features: Tensor
    feature_spacing: Sequence[float]
    colours: Tensor
    focus: Sequence[float]


def draw_channels(picture: FeaturePicture, low: float, high: float) -> Figure:
    """Every channel in three planes beside the image, all on one scale.

    Args:
        picture: what to draw.
        low, high: values of the first and the last colour.
    """
    channels = len(picture.features)
    blocks = -(-channels // (_COLUMNS - 1))
    columns = min(channels + 1, _COLUMNS)
    heights = _heights(picture) * blocks
    figure = Figure(figsize=(1.25 * columns + 0.6, 1.25 * sum(heights) + 0.9), layout="constrained", dpi=110)
    panels = figure.subplots(3 * blocks, columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for block in range(blocks):
        for row, view in enumerate(VIEWS):
            line = panels[3 * block + row]
            _grey(line[0], picture, view)
            line[0].set_ylabel(view.name, fontsize=8)
            if row == 0:
                line[0].set_title("image", fontsize=8)
            for column in range(1, columns):
                channel = block * (_COLUMNS - 1) + column - 1
                if channel >= channels:
                    line[column].set_visible(False)
                    continue
                _plane(line[column], picture.features[channel], picture, view, low, high)
                if row == 0:
                    line[column].set_title(f"channel {channel}", fontsize=8)
    bar = figure.colorbar(_scale(low, high), ax=panels, shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("feature value (no unit)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"{picture.title}: all channels", fontsize=10)
    return figure


def draw_colours(pictures: Sequence[FeaturePicture]) -> Figure:
    """Each image beside its features in the common colours."""
    heights = _heights(pictures[0])
    figure = Figure(figsize=(4.6 * len(pictures) + 0.4, 2.2 * sum(heights) + 0.7), layout="constrained", dpi=110)
    panels = figure.subplots(3, 2 * len(pictures), squeeze=False, gridspec_kw={"height_ratios": heights})
    for number, picture in enumerate(pictures):
        for row, view in enumerate(VIEWS):
            image, colour = panels[row][2 * number : 2 * number + 2]
            _grey(image, picture, view)
            edges = extent(picture.colours.shape[1:], picture.feature_spacing, view)
            position = float(picture.focus[view.normal])
            plane = cut(picture.colours, view, picture.feature_spacing, position)
            colour.imshow(plane, origin="lower", extent=edges)
            _frame(colour, picture, view)
            if row == 0:
                image.set_title(picture.title, fontsize=9)
                colour.set_title("features, common colours", fontsize=9)
            if number == 0:
                image.set_ylabel(f"{view.name}\n{view.bottom} – {view.top}", fontsize=9)
                image.set_xlabel(f"{view.left} – {view.right}", fontsize=9)
    return figure


def draw_effects(
    tables: Sequence[NDArray[np.float64]],
    titles: Sequence[str],
    organs: Sequence[str],
    order: tuple[Sequence[int], Sequence[int]],
) -> Figure:
    """Effect sizes as heat maps beside each other.

    Args:
        tables: each (channels, organs).
        titles: of the tables.
        organs: names of the columns.
        order: rows and columns from top and left, see ``clustered_order``.
    """
    rows, columns = order
    limit = max(1.0, float(np.nanpercentile(np.abs(np.stack(tables)), 98)))
    width = 1.6 + len(tables) * (0.8 + max(0.36 * len(organs), 1.2))
    figure = Figure(figsize=(width, 2.4 + 0.26 * len(rows)), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, table, title in zip(panels, tables, titles, strict=True):
        image = axes.imshow(table[np.ix_(rows, columns)], cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        axes.set_title(title.replace(" ", "\n", 1), fontsize=9)
        axes.set_xticks(range(len(columns)), [organs[c] for c in columns], rotation=90, fontsize=8)
        axes.set_yticks(range(len(rows)), [str(r) for r in rows], fontsize=8)
    panels[0].set_ylabel("channel (clustered)", fontsize=9)
    figure.supxlabel("organ (left blank where the image does not show it)", fontsize=9)
    bar = figure.colorbar(image, ax=panels, extend="both")
    bar.set_label("effect size, Cohen's d (standard deviations)", fontsize=9)
    return figure


def draw_similarity(
    source: FeaturePicture, point: Sequence[float], target: FeaturePicture, alike: Tensor, match: Sequence[float]
) -> Figure:
    """A point in one image, and how alike the other image's features are to those there.

    Args:
        source, target: the two images.
        point, match: (3,) mm from the centre of their image: the point, and its best match.
        alike: (i, j, k) on the target's feature grid, in [0, 1].
    """
    heights = _heights(source)
    figure = Figure(figsize=(7.6, 2.3 * sum(heights) + 0.7), layout="constrained", dpi=110)
    panels = figure.subplots(3, 3, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, view in enumerate(VIEWS):
        left, middle, right = panels[row]
        for axes, picture, place in ((left, source, point), (middle, target, match)):
            plane = cut(picture.image, view, picture.spacing, float(place[view.normal]))
            edges = extent(picture.image.shape, picture.spacing, view)
            axes.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower", extent=edges)
        edges = extent(alike.shape, target.feature_spacing, view)
        plane = cut(alike, view, target.feature_spacing, float(match[view.normal]))
        right.imshow(plane, cmap="viridis", vmin=0, vmax=1, origin="lower", extent=edges)
        for axes, picture, place in ((left, source, point), (middle, target, match), (right, target, match)):
            axes.plot(place[view.across], place[view.up], "+", color=_POINT, markersize=13, markeredgewidth=2)
            _frame(axes, picture, view)
        left.set_ylabel(f"{view.name}\n{view.bottom} – {view.top}", fontsize=9)
        left.set_xlabel(f"{view.left} – {view.right}", fontsize=9)
        if row == 0:
            left.set_title(f"{source.title}\nthe point", fontsize=9)
            middle.set_title(f"{target.title}\nits best match", fontsize=9)
            right.set_title("features there:\nsimilarity to the point", fontsize=9)
    bar = figure.colorbar(_scale(0, 1), ax=panels, shrink=0.6, pad=0.01)
    bar.set_label("similarity, exp(−d² / median d²) (no unit)", fontsize=9)
    return figure


def _heights(picture: FeaturePicture) -> list[float]:
    size = np.array(picture.image.shape) * np.asarray(picture.spacing)
    return [float(min(max(size[v.up] / size[v.across], 0.35), 2.0)) for v in VIEWS]


def _grey(axes: Axes, picture: FeaturePicture, view: View) -> None:
    plane = cut(picture.image, view, picture.spacing, float(picture.focus[view.normal]))
    edges = extent(picture.image.shape, picture.spacing, view)
    axes.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower", extent=edges)
    _frame(axes, picture, view)


def _plane(axes: Axes, channel: Tensor, picture: FeaturePicture, view: View, low: float, high: float) -> None:
    plane = cut(channel, view, picture.feature_spacing, float(picture.focus[view.normal]))
    edges = extent(channel.shape, picture.feature_spacing, view)
    axes.imshow(plane, cmap="viridis", vmin=low, vmax=high, origin="lower", extent=edges)
    _frame(axes, picture, view)


def _scale(low: float, high: float) -> ScalarMappable:
    return ScalarMappable(Normalize(low, high), "viridis")


def _frame(axes: Axes, picture: FeaturePicture, view: View) -> None:
    left, right, bottom, top = extent(picture.image.shape, picture.spacing, view)
    axes.set_xlim(right, left)  # both horizontal axes rise to the picture's left
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
