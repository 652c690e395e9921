"""Figures of features: channels, common colours, effect sizes, similarity to a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.pages import COLOURS
from mmreg_lightning.reporting.planes import GREY, VIEWS, frame_plane, row_heights, show_plane

_CHANNELS = 8  # in a row of panels, beside the image
_POINT = COLOURS[5]


@dataclass(frozen=True)
class FeaturePicture:
    """An image with its features; both grids share one centre and direction.

    Attributes:
        title: of the image.
        image: (I, J, K) in [0, 1] on ``grid``.
        grid: of the image, in the world.
        features: (C, i, j, k) on ``feature_grid``.
        feature_grid: of the features.
        colours: (3, i, j, k) in [0, 1], see ``pca_colours``.
        labels: (I, J, K) on ``grid``; None if there are none.
        point: (3,) world RAS mm, where the planes cross; None is the centre.
    """

    title: str
    image: Tensor
    grid: Grid
    features: Tensor
    feature_grid: Grid
    colours: Tensor
    labels: Tensor | None = None
    point: NDArray[np.float64] | None = None

    @property
    def focus(self) -> NDArray[np.float64]:
        """(3,) where the planes cross, mm from the centre along I, J, K."""
        return np.zeros(3) if self.point is None else self.grid.direction.T @ (self.point - self.grid.center)


def draw_channels(picture: FeaturePicture, low: float, high: float) -> Figure:
    """Every channel in three planes beside the image, all on one colour scale.

    Args:
        picture: what to draw.
        low, high: feature values at the ends of the colour scale.
    """
    count = len(picture.features)
    columns = 1 + min(count, _CHANNELS)
    starts = range(0, count, _CHANNELS)
    figure, panels = _figure(picture, columns, 1.25, (1.25 * columns + 0.6, 0.9), len(starts))
    for axes in panels.flat:
        axes.set_visible(False)  # the last block may have columns to spare
    for block, start in zip(panels.reshape(-1, len(VIEWS), columns), starts, strict=True):
        _draw_column(block[:, 0], picture, "image", picture.image, picture.grid, size=8, **GREY)
        for axes, view in zip(block[:, 0], VIEWS, strict=True):
            axes.set_ylabel(view.name, fontsize=8)
        for column, channel in zip(block.T[1:], range(start, count), strict=False):
            values = picture.features[channel]
            title = f"channel {channel}"
            _draw_column(column, picture, title, values, picture.feature_grid, size=8, vmin=low, vmax=high)
    bar = figure.colorbar(_scale(low, high), ax=panels, shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("feature value (no unit)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"{picture.title}: all channels", fontsize=10)
    return figure


def draw_colours(pictures: Sequence[FeaturePicture]) -> Figure:
    """Each image beside its features in the common colours."""
    figure, panels = _figure(pictures[0], 2 * len(pictures), 2.2, (4.6 * len(pictures) + 0.4, 0.7))
    for picture, left, right in zip(pictures, panels.T[::2], panels.T[1::2], strict=True):
        _draw_column(left, picture, picture.title, picture.image, picture.grid, **GREY)
        _draw_column(right, picture, "features, common colours", picture.colours, picture.feature_grid)
    _name_edges(panels)
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
        order: order of rows from the top and of columns from the left, see ``clustered_order``.
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
    """A point in one image, and the similarity of the other image's features to those at the point.

    Args:
        source, target: the two images.
        point, match: (3,) mm from the centre of their image: the point, and its best match.
        alike: (i, j, k) on the target's feature grid, in [0, 1].
    """
    figure, panels = _figure(source, 3, 2.3, (7.6, 0.7))
    left, middle, right = panels.T
    _draw_column(left, source, f"{source.title}\nthe point", source.image, source.grid, point, **GREY)
    _draw_column(middle, target, f"{target.title}\nits best match", target.image, target.grid, match, **GREY)
    title = "features there:\nsimilarity to the point"
    _draw_column(right, target, title, alike, target.feature_grid, match, vmin=0, vmax=1)
    for column, place in ((left, point), (middle, match), (right, match)):
        for axes, view in zip(column, VIEWS, strict=True):
            axes.plot(place[view.across], place[view.up], "+", color=_POINT, markersize=13, markeredgewidth=2)
    _name_edges(panels)
    bar = figure.colorbar(_scale(0, 1), ax=panels, shrink=0.6, pad=0.01)
    bar.set_label("similarity, exp(−d² / median d²) (no unit)", fontsize=9)
    return figure


def _figure(
    picture: FeaturePicture, columns: int, scale: float, size: tuple[float, float], repeats: int = 1
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its panels (rows, columns), with a row for each of the ``VIEWS``, ``repeats`` times.

    In inches, ``scale`` is the height of a square plane, and ``size`` the width of the figure and its further height.
    """
    heights = row_heights(picture.grid.shape, picture.grid.spacing.tolist()) * repeats
    figure = Figure(figsize=(size[0], scale * sum(heights) + size[1]), layout="constrained", dpi=110)
    return figure, figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})


def _draw_column(
    column: NDArray[Any],
    picture: FeaturePicture,
    title: str,
    volume: Tensor,
    grid: Grid,
    place: Sequence[float] | None = None,
    size: int = 9,
    **style: Any,
) -> None:
    """The ``VIEWS`` of a volume, through a place in mm from the centre, in the frame of the picture's image."""
    focus = picture.focus if place is None else place
    for axes, view in zip(column, VIEWS, strict=True):
        axes.set_visible(True)
        show_plane(axes, volume, grid.spacing.tolist(), view, float(focus[view.normal]), **style)
        frame_plane(axes, picture.grid.shape, picture.grid.spacing.tolist(), view)
    column[0].set_title(title, fontsize=size)


def _name_edges(panels: NDArray[Any]) -> None:
    for axes, view in zip(panels[:, 0], VIEWS, strict=True):
        axes.set_ylabel(f"{view.name}\n{view.bottom} – {view.top}", fontsize=9)
        axes.set_xlabel(f"{view.left} – {view.right}", fontsize=9)


def _scale(low: float, high: float) -> ScalarMappable:
    return ScalarMappable(Normalize(low, high), "viridis")
