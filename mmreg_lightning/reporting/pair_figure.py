"""The figure of a registered pair: a row for each anatomical plane, a column for each kind of picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from mmreg_lightning.reporting.pages import COLOURS
from mmreg_lightning.reporting.planes import GREY, VIEWS, View, cut, extent, frame_plane, row_heights, show_plane

FIXED_COLOUR, MOVING_COLOUR = COLOURS[1], COLOURS[4]
FIXED_MASK_COLOUR, MOVING_MASK_COLOUR = COLOURS[3], COLOURS[2]
_TILES = 6  # tiles of the checkerboard along the longest side
_GRID_LINES = 16  # of the deformation grid along the longer side of a plane
_WIDTH = 2.15  # inches of a column


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
        fixed_mask, moving_mask, warped_mask: (I, J, K) bool, what each image was looked at in, outlined where they are
            given.
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
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    warped_mask: Tensor | None = None

    @cached_property
    def colours(self) -> tuple[Tensor, Tensor]:
        """(3, i, j, k) of the fixed and of the warped features, see ``pca_colours``."""
        return pca_colours(self.fixed_features, self.warped_features)

    @cached_property
    def displacement_limit(self) -> float:
        """Length of a displacement at the end of the colour scale, mm."""
        lengths = self.displacement.norm(dim=0).flatten()
        # The 99th percentile: with the maximum, a few corner voxels would leave the anatomy one colour.
        limit = float(lengths.kthvalue(max(1, round(0.99 * lengths.numel()))).values)
        return max(limit, 1e-3)

    def focus(self) -> NDArray[np.float64]:
        """(3,) where the planes cross, mm from the centre: the middle of the fixed labels, else of the image."""
        if self.fixed_labels is None or not bool((self.fixed_labels > 0).any()):
            return np.zeros(3)
        middle = (self.fixed_labels > 0).nonzero().double().mean(dim=0).numpy()
        return (middle - (np.array(self.fixed.shape) - 1) / 2) * np.asarray(self.spacing)


@dataclass(frozen=True)
class Column:
    """A column of the figure.

    Attributes:
        title: above the column.
        shown: gives the volume to show, its spacing in mm, and its style as ``imshow`` takes it.
        overlay: draws over the plane of a view at a position (mm from the centre); None draws nothing.
        bar: label of the colour bar; None draws no bar.
        extend: ends of the colour bar beyond which there are values, as ``colorbar`` takes it.
    """

    title: str
    shown: Callable[[PairPicture], tuple[Tensor, Sequence[float], dict[str, Any]]]
    overlay: Callable[[Axes, PairPicture, View, float], None] | None = None
    bar: str | None = None
    extend: str = "neither"


def checkerboard(first: Tensor, second: Tensor, spacing: Sequence[float]) -> Tensor:
    """Two volumes (I, J, K) in turn, in cubes of a sixth of the longest side; ``spacing`` is in mm."""
    side = max(n * s for n, s in zip(first.shape, spacing, strict=True)) / _TILES
    i, j, k = (((torch.arange(n) + 0.5) * s / side).byte() for n, s in zip(first.shape, spacing, strict=True))
    parity = (i[:, None, None] + j[:, None] + k) % 2
    return torch.where(parity.to(first.device) == 0, first, second)


def _outlines(**styles: tuple[str, float]) -> Callable[[Axes, PairPicture, View, float], None]:
    """An overlay: outlines of the label maps and masks in these attributes, of a colour and width (points) each."""

    def draw(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
        for name, (colour, width) in styles.items():
            volume = getattr(picture, name)
            if volume is None:
                continue
            plane = cut(volume, view, picture.spacing, position)
            x, y = _centres(plane, extent(volume.shape, picture.spacing, view))
            for label in np.unique(plane[plane > 0]) if min(plane.shape) > 1 else ():
                ax.contour(x, y, plane == label, levels=[0.5], colors=colour, linewidths=width)

    return draw


def _deformed_grid(ax: Axes, picture: PairPicture, view: View, position: float) -> None:
    spacing = picture.displacement_spacing
    vectors = cut(picture.displacement, view, spacing, position)
    x, y = _centres(vectors, extent(picture.displacement.shape[-3:], spacing, view))
    across = x[None, :] + vectors[..., view.across]
    up = y[:, None] + vectors[..., view.up]
    step = max(1, round(max(across.shape) / _GRID_LINES))
    style: dict[str, Any] = {"color": "white", "linewidth": 0.5, "alpha": 0.8}
    ax.plot(across[step // 2 :: step].T, up[step // 2 :: step].T, **style)
    ax.plot(across[:, step // 2 :: step], up[:, step // 2 :: step], **style)


def _centres(plane: NDArray, edges: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles of the columns and of the rows of a plane with these edges, mm."""
    (rows, columns), (left, right, bottom, top) = plane.shape[:2], edges
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    return x, bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows


def _confidence(picture: PairPicture) -> tuple[Tensor, Sequence[float], dict[str, Any]]:
    assert picture.confidence is not None, "shown where there is one"
    return picture.confidence, picture.feature_spacing, {"cmap": "cividis", "vmin": 0, "vmax": 1}


_FIXED_LABELS, _MOVING_LABELS = (FIXED_COLOUR, 0.9), (MOVING_COLOUR, 0.9)
_FIXED_MASK, _MOVING_MASK = (FIXED_MASK_COLOUR, 0.8), (MOVING_MASK_COLOUR, 0.8)

FIXED = Column(
    "fixed",
    lambda p: (p.fixed, p.spacing, GREY),
    _outlines(fixed_mask=_FIXED_MASK, fixed_labels=_FIXED_LABELS),
)
MOVING = Column(
    "moving, initial",
    lambda p: (p.moving, p.spacing, GREY),
    _outlines(moving_mask=_MOVING_MASK, fixed_labels=_FIXED_LABELS, moving_labels=_MOVING_LABELS),
)
WARPED = Column(
    "moving, warped",
    lambda p: (p.warped, p.spacing, GREY),
    _outlines(warped_mask=_MOVING_MASK, fixed_labels=_FIXED_LABELS, warped_labels=_MOVING_LABELS),
)
CHECKERBOARD = Column("fixed / warped", lambda p: (checkerboard(p.fixed, p.warped, p.spacing), p.spacing, GREY))
DISPLACEMENT = Column(
    "deformation",
    lambda p: (p.displacement.norm(dim=0), p.displacement_spacing, {"vmin": 0, "vmax": p.displacement_limit}),
    _deformed_grid,
    bar="displacement (mm)",
    extend="max",
)
FIXED_FEATURES = Column("features of fixed", lambda p: (p.colours[0], p.feature_spacing, {}))
WARPED_FEATURES = Column("features of warped", lambda p: (p.colours[1], p.feature_spacing, {}))
CONFIDENCE = Column("confidence", _confidence, bar="confidence (0 to 1)")

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
    heights = row_heights(picture.fixed.shape, picture.spacing)
    top, bottom, side = 0.62 + 0.18 * title.count("\n"), 0.65, 0.85  # inches
    figure = Figure(figsize=(len(columns) * _WIDTH + side + 0.15, sum(heights) * _WIDTH + top + bottom), dpi=120)
    width, height = figure.get_size_inches()
    margins = {"left": side / width, "right": 1 - 0.15 / width, "top": 1 - top / height, "bottom": bottom / height}
    panels = figure.subplots(
        len(VIEWS),
        len(columns),
        squeeze=False,
        gridspec_kw={"height_ratios": heights, "hspace": 0.06, "wspace": 0.06, **margins},
    )
    focus = picture.focus()
    for number, column in enumerate(columns):
        volume, spacing, style = column.shown(picture)
        for ax, view in zip(panels[:, number], VIEWS, strict=True):
            position = float(focus[view.normal])
            described = show_plane(ax, volume, spacing, view, position, **style)
            if column.overlay is not None:
                column.overlay(ax, picture, view, position)
            frame_plane(ax, picture.fixed.shape, picture.spacing, view)
            _name_sides(ax, view)
            if number == 0:
                _add_scale(ax, view)
        panels[0, number].set_title(column.title, fontsize=10)
        if column.bar is not None:
            box = panels[-1, number].get_position()
            bar = figure.add_axes((box.x0, 0.46 / height, box.width, 0.09 / height))
            figure.colorbar(described, cax=bar, orientation="horizontal", extend=column.extend)
            bar.tick_params(labelsize=8)
            bar.set_xlabel(column.bar, fontsize=8, labelpad=1)
    figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top")
    outlined = {
        "labels of fixed": (FIXED_COLOUR, picture.fixed_labels),
        "labels of moving": (MOVING_COLOUR, picture.moving_labels),
        "mask of fixed": (FIXED_MASK_COLOUR, picture.fixed_mask),
        "mask of moving": (MOVING_MASK_COLOUR, picture.moving_mask),
    }
    lines = [
        Line2D([], [], color=colour, label=name) for name, (colour, volume) in outlined.items() if volume is not None
    ]
    if lines:
        corner = (0.03, 0.12 / height)
        figure.legend(handles=lines, loc="lower left", bbox_to_anchor=corner, ncols=4, fontsize=8, frameon=False)
    return figure


def _name_sides(ax: Axes, view: View) -> None:
    for x, letter, align in ((0.02, view.left, "left"), (0.98, view.right, "right")):
        text = ax.text(x, 0.5, letter, ha=align, va="center", fontsize=8, color="white", transform=ax.transAxes)
        text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])


def _add_scale(ax: Axes, view: View) -> None:
    """A vertical scale in millimetres, whose ticks are 1, 2 or 5 times a power of ten apart."""
    bottom, top = ax.get_ylim()
    wanted = (top - bottom) / 4
    power = 10.0 ** math.floor(math.log10(wanted))
    step = max(m * power for m in (1, 2, 5) if m * power <= wanted * 1.0001)
    ax.set_yticks(np.arange(math.ceil(bottom / step), math.floor(top / step) + 1) * step)
    ax.tick_params(labelsize=7, length=2)
    ax.set_ylabel(f"{view.name}\n{view.bottom} – {view.top} (mm)", fontsize=8)
