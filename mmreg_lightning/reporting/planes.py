"""Planes through RAS+ volumes as radiologists look at them, and how figures draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


@dataclass(frozen=True)
class View:
    """An anatomical plane and how it is shown.

    Attributes:
        name: of the plane.
        normal: the axis perpendicular to the plane (0 is I, to the right; 1 is J, to the front; 2 is K, upward).
        across, up: the axes shown horizontally and vertically.
        left, right, top, bottom: names of the picture's edges. The patient's right is on the left, and anterior is on
            the left of sagittal planes.
    """

    name: str
    normal: int
    across: int
    up: int
    left: str
    right: str
    top: str
    bottom: str


AXIAL = View("axial", 2, 0, 1, "R", "L", "A", "P")
CORONAL = View("coronal", 1, 0, 2, "R", "L", "S", "I")
SAGITTAL = View("sagittal", 0, 1, 2, "A", "P", "S", "I")
VIEWS = (AXIAL, CORONAL, SAGITTAL)

GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
"""Style of an image in [0, 1]."""


def cut(volume: Tensor, view: View, spacing: Sequence[float], position: float) -> NDArray:
    """The plane of a volume nearest to a position.

    Args:
        volume: (I, J, K), or (C, I, J, K) whose channels become the last axis.
        view: which plane.
        spacing: (3,) of the volume, mm.
        position: along the normal, mm from the centre of the field of view.

    Returns:
        (rows, columns) or (rows, columns, C): columns go along ``view.across``, rows along ``view.up``.
    """
    array = volume.detach().cpu().numpy()
    lead = array.ndim - 3
    n = array.shape[lead + view.normal]
    index = int(np.clip(np.rint(position / spacing[view.normal] + (n - 1) / 2), 0, n - 1))
    plane = np.take(array, index, axis=lead + view.normal)
    # The two axes left are in rising order, and `across` is the lower of them: rows must be `up`.
    plane = np.swapaxes(plane, -1, -2)
    return np.moveaxis(plane, 0, -1) if lead else plane


def extent(shape: Sequence[int], spacing: Sequence[float], view: View) -> tuple[float, float, float, float]:
    """Edges (first column, last column, first row, last row) of a plane, mm from the centre of the field of view.

    Grids of different spacing about the same centre match.
    """
    half = [n * s / 2 for n, s in zip(shape, spacing, strict=True)]
    return -half[view.across], half[view.across], -half[view.up], half[view.up]


def show_plane(
    axes: Axes, volume: Tensor, spacing: Sequence[float], view: View, position: float, **style: Any
) -> AxesImage:
    """Draw a plane, in millimetres from the centre of the field of view.

    Args:
        axes: where to draw.
        volume, spacing, view, position: see ``cut``; the three channels of a (3, I, J, K) are red, green, blue.
        style: arguments of ``imshow``.
    """
    plane = cut(volume, view, spacing, position)
    return axes.imshow(plane, origin="lower", extent=extent(volume.shape[-3:], spacing, view), **style)


def frame_plane(axes: Axes, shape: Sequence[int], spacing: Sequence[float], view: View) -> None:
    """Limits of a plane of a grid, black outside the images, no ticks."""
    left, right, bottom, top = extent(shape, spacing, view)
    axes.set_xlim(right, left)  # both horizontal axes rise to the picture's left
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])


def row_heights(shape: Sequence[int], spacing: Sequence[float]) -> list[float]:
    """Height over width of each of the ``VIEWS`` of a grid; very flat and very high planes are bounded."""
    size = [n * s for n, s in zip(shape, spacing, strict=True)]
    return [min(max(size[view.up] / size[view.across], 0.35), 2.0) for view in VIEWS]
