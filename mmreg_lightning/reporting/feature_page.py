"""Features of one or two images as an interactive page: click on a place to see where features are similar."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmreg_lightning.files import write_text
from mmreg_lightning.reporting.feature_figures import FeaturePicture
from mmreg_lightning.reporting.packed import pack_coarse, pack_scene
from mmreg_lightning.reporting.pages import render
from mmreg_lightning.reporting.planes import VIEWS


def write_feature_page(
    path: str | os.PathLike[str],
    pictures: Sequence[FeaturePicture],
    title: str,
    notes: Sequence[str] = (),
    label_names: Mapping[int, str] | None = None,
) -> None:
    """Write one or two images with their features as one HTML file that works from disk, without a network.

    Features are kept in 8 bits, with at most 64 voxels along the longest side. The page computes similarities itself.

    Args:
        path: name of the file, which is replaced as a whole.
        pictures: the images. Their features have the same channels.
        title: of the page, plain text.
        notes: sentences below the images, plain text.
        label_names: names of the label ids that have one.

    Raises:
        ValueError: an image or its labels are not on its grid.
    """
    low = min(float(p.features.min()) for p in pictures)
    high = max(float(p.features.max()) for p in pictures)
    data = {
        "views": [asdict(view) for view in VIEWS],
        "low": low,
        "high": high,
        "scenes": [_scene(picture, low, high, label_names or {}) for picture in pictures],
    }
    write_text(path, render("feature_page.html", title=title, notes=notes, data=data))


def _scene(picture: FeaturePicture, low: float, high: float, label_names: Mapping[int, str]) -> dict[str, Any]:
    """A scene, see ``packed``, whose ``features`` (C, ...) have the value low + (high - low) byte / 255."""
    images, labels = {"image": picture.image}, {"labels": picture.labels}
    scene = pack_scene(picture.grid, picture.focus.tolist(), images, labels, label_names)
    spacing = picture.feature_grid.spacing.tolist()
    scene["title"] = picture.title
    scene["volumes"]["colours"] = pack_coarse(picture.colours, spacing)
    scene["volumes"]["features"] = pack_coarse((picture.features - low) / max(high - low, 1e-12), spacing)
    return scene
