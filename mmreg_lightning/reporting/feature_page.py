"""Features of one or two images as an interactive page: click on a place to see where features are similar."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.files import write_text
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.packed import pack_coarse, pack_scene
from mmreg_lightning.reporting.pages import render
from mmreg_lightning.reporting.planes import VIEWS


@dataclass(frozen=True)
class Scene:
    """One image of the page.

    Attributes:
        title: of the image.
        image: (I, J, K) in [0, 1] on ``grid``.
        grid: of the image, in the world.
        features: (C, i, j, k) on ``feature_grid``.
        feature_grid: of the features: any spacing, with the centre and the direction of ``grid``.
        colours: (3, i, j, k) in [0, 1], see ``pca_colours``.
        labels: (I, J, K) on ``grid``; None if there are none.
        point: (3,) world RAS mm, the first position of the crosshair; None is the centre.
    """

    title: str
    image: Tensor
    grid: Grid
    features: Tensor
    feature_grid: Grid
    colours: Tensor
    labels: Tensor | None = None
    point: NDArray[np.float64] | None = None


def write_feature_page(
    path: str | os.PathLike[str],
    scenes: Sequence[Scene],
    title: str,
    notes: Sequence[str] = (),
    label_names: Mapping[int, str] | None = None,
) -> None:
    """Write one or two images with their features as one HTML file that works from disk, without a network.

    Features are kept in 8 bits, with at most 64 voxels along the longest side. The page computes similarities itself.

    Args:
        path: name of the file, which is replaced as a whole.
        scenes: the images. Their features have the same channels.
        title: of the page, plain text.
        notes: sentences below the images, plain text.
        label_names: names of the label ids that have one.

    Raises:
        ValueError: an image or its labels are not on its grid.
    """
    low = min(float(scene.features.min()) for scene in scenes)
    high = max(float(scene.features.max()) for scene in scenes)
    data = {
        "views": [asdict(view) for view in VIEWS],
        "low": low,
        "high": high,
        "scenes": [_scene(scene, low, high, label_names or {}) for scene in scenes],
    }
    write_text(path, render("feature_page.html", title=title, notes=notes, data=data))


def _scene(scene: Scene, low: float, high: float, label_names: Mapping[int, str]) -> dict[str, Any]:
    """A scene, see ``packed``, whose ``features`` (C, ...) have the value low + (high - low) byte / 255."""
    grid, spacing = scene.grid, scene.feature_grid.spacing.tolist()
    point = grid.center if scene.point is None else scene.point
    focus = (grid.direction.T @ (point - grid.center)).tolist()
    data = pack_scene(grid, focus, {"image": scene.image}, {"labels": scene.labels}, label_names)
    data["title"] = scene.title
    data["volumes"] |= {
        "colours": pack_coarse(scene.colours, spacing),
        "features": pack_coarse((scene.features - low) / max(high - low, 1e-12), spacing),
    }
    return data
