"""The figure of a registered pair: a row for each anatomical plane, a column for each kind of picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.reporting.colours import pca_colours
from mmreg_lightning.reporting.planes import VIEWS, View, cut, extent

# Okabe and Ito's palette, whose colours are told apart with every kind of colour vision.
FIXED_COLOUR = "#E69F00"
MOVING_COLOUR = "#56B4E9"
_TILES = 6  # fields of the checkerboard along the longer side
_GRID_LINES = 16  # of the deformation grid along the longer side
_WIDTH = 2.15  # inches a column


@dataclass(frozen=True)
class PairPicture:
    """What the figure shows; all grids share one centre and direction.

    Attributes:
        fixed, moving, warped: (I, J, K) in [0, 1], on one grid; ``moving`` as it was before the deformation.
        spacing: (3,) of that grid, mm.
        displacement: (3, I', J', K'), mm along the axes I, J, K, without an initial affine.
        displacement_spacing: (3,) of its grid, mm.
        fixed_features, warped_features: (C, i, j, k).
        feature_spacing: (3,) of their grid, mm.
        fixed_labels, moving_labels, warped_labels: (I, J, K), outlined where they are given.
        confidence: (i, j, k) in [0, 1] on the grid of the features, shown where it is given.
    """

    fixed: Tensor
    moving: Tensor
    warped: Tensor
    spacing: Sequence[float]
    displacement: Tensor
    displacement_spacing: Sequence[float]
    fixed_features: Tensor
    warped_features: Tensor
    feature_spacing: Sequence[float]
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    warped_labels: Tensor | None = None
    confidence: Tensor | None = None
    colours: tuple[Tensor, Tensor] = field(init=False)
    longest: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "colours", pca_colours(self.fixed_features, self.warped_features))
        lengths = self.displacement.square().sum(0).sqrt().flatten()
        # A few corner voxels would otherwise leave the anatomy one colour; the bar's arrow says that more is there.
        longest = float(lengths.kthvalue(max(1, round(0.99 * lengths.numel()))).values)
        object.__setattr__(self, "longest", max(longest, 1e-3))

    def focus(self) -> NDArray[np.float64]:
        """(3,) where the planes cross, mm from the centre: the middle of the fixed labels, else of the image."""
        if self.fixed_labels is None or not bool((self.fixed_labels > 0).any()):
            return np.zeros(3)
        middle = (self.fixed_labels > 0).nonzero().double().mean(dim=0).numpy()
        return (middle - (np.array(self.fixed.shape) - 1) / 2) * np.asarray(self.spacing)


Panel = Callable[[Axes, PairPicture, View, float], object]
"""Draws one plane into an Axes; returns what a colour bar describes, or None."""


@dataclass(frozen=True)
class Column:
    """A title, how its panels are drawn, and the label of its colour bar if it has one, and at which end more is."""

    title: str
    draw: Panel
    bar: str | None = None
    extend: str = "neither"


def _show(ax: Axes, volume: Tensor, spacing: Sequence[float], view: View, position: float) -> None:
    edges = extent(volume.shape[-3:], spacing, view)
    plane = cut(volume, view, spacing, position)
    ax.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower", extent=edges)


def _outline(ax: Axes, picture: PairPicture, labels: Tensor | None, view: View, position: float, colour: str) -> None:
    if labels is None:
        return
    plane = cut(labels, view, picture.spacing, position)
    left, right, bottom, top = extent(labels.shape, picture.spacing, view)
    rows, columns = plane.shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
    for label in np.unique(plane[plane > 0]):
        if min(plane.shape) > 1:
            ax.contour(x, y, plane == label, levels=[0.5], colors=colour, linewidths=0.9)


def _draw_fixed(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    _show(ax, picture.fixed, picture.spacing, view, position)
    _outline(ax, picture, picture.fixed_labels, view, position, FIXED_COLOUR)


def _draw_moving(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    _show(ax, picture.moving, picture.spacing, view, position)
    _outline(ax, picture, picture.fixed_labels, view, position, FIXED_COLOUR)
    _outline(ax, picture, picture.moving_labels, view, position, MOVING_COLOUR)


def _draw_warped(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    _show(ax, picture.warped, picture.spacing, view, position)
    _outline(ax, picture, picture.fixed_labels, view, position, FIXED_COLOUR)
    _outline(ax, picture, picture.warped_labels, view, position, MOVING_COLOUR)


def _draw_checkerboard(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    board = checkerboard(picture.fixed, picture.warped, picture.spacing)
    _show(ax, board, picture.spacing, view, position)


def checkerboard(first: Tensor, second: Tensor, spacing: Sequence[float]) -> Tensor:
    """Fields of two volumes (I, J, K) in turn, cubes of a sixth of the longest side."""
    side = max(n * s for n, s in zip(first.shape, spacing, strict=True)) / _TILES
    parity = torch.zeros((), dtype=torch.long)
    for axis, (n, step) in enumerate(zip(first.shape, spacing, strict=True)):
        tile = ((torch.arange(n) + 0.5) * step / side).floor().long()
        parity = parity + tile.view([-1 if a == axis else 1 for a in range(3)])
    return torch.where(parity.to(first.device) % 2 == 0, first, second)


def _draw_displacement(ax: Axes, picture: PairPicture, view: View, position: float) -> object:
    field_, spacing = picture.displacement, picture.displacement_spacing
    edges = extent(field_.shape[-3:], spacing, view)
    magnitude = cut(field_.square().sum(0).sqrt(), view, spacing, position)
    image = ax.imshow(magnitude, cmap="viridis", vmin=0, vmax=picture.longest, origin="lower", extent=edges)
    vectors = cut(field_, view, spacing, position)
    rows, columns = magnitude.shape
    x = edges[0] + (np.arange(columns) + 0.5) * spacing[view.across]
    y = edges[2] + (np.arange(rows) + 0.5) * spacing[view.up]
    across = x[None, :] + vectors[..., view.across]
    up = y[:, None] + vectors[..., view.up]
    step = max(1, round(max(rows, columns) / _GRID_LINES))
    style: dict[str, Any] = {"color": "white", "linewidth": 0.5, "alpha": 0.8}
    ax.plot(across[step // 2 :: step].T, up[step // 2 :: step].T, **style)
    ax.plot(across[:, step // 2 :: step], up[:, step // 2 :: step], **style)
    return image


def _draw_fixed_features(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    _show(ax, picture.colours[0], picture.feature_spacing, view, position)


def _draw_warped_features(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    _show(ax, picture.colours[1], picture.feature_spacing, view, position)


def _draw_confidence(ax: Axes, picture: PairPicture, view: View, position: float) -> object:
    assert picture.confidence is not None, "drawn where there is one"
    spacing = picture.feature_spacing
    edges = extent(picture.confidence.shape[-3:], spacing, view)
    plane = cut(picture.confidence, view, spacing, position)
    return ax.imshow(plane, cmap="cividis", vmin=0, vmax=1, origin="lower", extent=edges)


FIXED = Column("fixed", _draw_fixed)
MOVING = Column("moving, initial", _draw_moving)
WARPED = Column("moving, warped", _draw_warped)
CHECKERBOARD = Column("fixed / warped", _draw_checkerboard)
DISPLACEMENT = Column("deformation", _draw_displacement, bar="displacement (mm)", extend="max")
FIXED_FEATURES = Column("features of fixed", _draw_fixed_features)
WARPED_FEATURES = Column("features of warped", _draw_warped_features)

CONFIDENCE = Column("confidence", _draw_confidence, bar="confidence (0 to 1)")

REGISTRATION = (FIXED, MOVING, WARPED, CHECKERBOARD, DISPLACEMENT)
FEATURES = (FIXED, FIXED_FEATURES, WARPED_FEATURES, WARPED)
ALL = (*REGISTRATION, FIXED_FEATURES, WARPED_FEATURES)


def draw_pair(picture: PairPicture, title: str, columns: Sequence[Column] | None = None) -> Figure:
    """Draw axial, coronal and sagittal planes of a pair.

    Args:
        picture: what to draw.
        title: above the figure; may have several lines.
        columns: from left to right; None is ``ALL``, and the confidence where there is one.
    """
    if columns is None:
        columns = ALL if picture.confidence is None else (*ALL, CONFIDENCE)
    size = np.array(picture.fixed.shape) * np.asarray(picture.spacing)
    # Every panel of a row is as high as its plane asks for; very flat planes are still given some room.
    heights = [min(max(size[v.up] / size[v.across], 0.35), 2.0) for v in VIEWS]
    top, bottom, side = 0.62 + 0.18 * title.count("\n"), 0.65, 0.85
    figure = Figure(figsize=(len(columns) * _WIDTH + side + 0.15, sum(heights) * _WIDTH + top + bottom), dpi=120)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(VIEWS),
        len(columns),
        height_ratios=heights,
        left=side / width,
        right=1 - 0.15 / width,
        top=1 - top / height,
        bottom=bottom / height,
        hspace=0.06,
        wspace=0.06,
    )
    focus = picture.focus()
    for row, view in enumerate(VIEWS):
        for number, column in enumerate(columns):
            ax = figure.add_subplot(grid[row, number])
            described = column.draw(ax, picture, view, float(focus[view.normal]))
            _dress(ax, picture, view, first=number == 0)
            if row == 0:
                ax.set_title(column.title, fontsize=10)
            if row == len(VIEWS) - 1 and column.bar is not None:
                box = ax.get_position()
                bar = figure.add_axes((box.x0, 0.46 / height, box.width, 0.09 / height))
                figure.colorbar(described, cax=bar, orientation="horizontal", extend=column.extend)  # type: ignore[arg-type]
                bar.tick_params(labelsize=8)
                bar.set_xlabel(column.bar, fontsize=8, labelpad=1)
    figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top")
    _legend(figure, picture, height)
    return figure


def _dress(ax: Axes, picture: PairPicture, view: View, *, first: bool) -> None:
    """Limits of the fixed image, letters of direction, and on the left a scale in millimetres."""
    left, right, bottom, top = extent(picture.fixed.shape, picture.spacing, view)
    ax.set_xlim(right, left)  # both horizontal axes rise to the picture's left
    ax.set_ylim(bottom, top)
    ax.set_aspect("equal")
    ax.set_facecolor("black")
    ax.set_xticks([])
    for x, letter, align in ((0.02, view.left, "left"), (0.98, view.right, "right")):
        text = ax.text(x, 0.5, letter, ha=align, va="center", fontsize=8, color="white", transform=ax.transAxes)
        text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])
    if first:
        step = _round_step((top - bottom) / 4)
        ticks = np.arange(math.ceil(bottom / step), math.floor(top / step) + 1) * step
        ax.set_yticks(ticks)
        ax.tick_params(labelsize=7, length=2)
        ax.set_ylabel(f"{view.name}\n{view.bottom} – {view.top} (mm)", fontsize=8)
    else:
        ax.set_yticks([])


def _round_step(value: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is not above ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(m * power for m in (1, 2, 5) if m * power <= value * 1.0001)


def _legend(figure: Figure, picture: PairPicture, height: float) -> None:
    if picture.fixed_labels is None:
        return
    handles = [Line2D([], [], color=FIXED_COLOUR, label="labels of fixed")]
    if picture.moving_labels is not None:
        handles.append(Line2D([], [], color=MOVING_COLOUR, label="labels of moving"))
    figure.legend(
        handles=handles,
        loc="lower left",
        ncols=2,
        fontsize=8,
        frameon=False,
        bbox_to_anchor=(0.03, 0.12 / height),
    )
