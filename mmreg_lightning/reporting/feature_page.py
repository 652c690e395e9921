"""Features of one or two images as an interactive page: click on a place, and see where features are alike."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.files import write_text
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.reporting.packed import coarser, pack, pack_image, shown_grid, to_bytes
from mmreg_lightning.reporting.planes import VIEWS


@dataclass(frozen=True)
class Scene:
    """One image of the page.

    Attributes:
        title: of the image.
        image: (I, J, K) in [0, 1] on ``grid``.
        grid: of the image, in the world.
        features: (C, i, j, k) on ``feature_grid``.
        feature_grid: of the features: any spacing, the same centre and direction.
        colours: (3, i, j, k) in [0, 1].
        labels: (I, J, K) on ``grid``; None is none.
        point: (3,) world RAS mm, where the crosshair is at first; None is the centre.
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
    """Write one or two images with their features as an HTML page that holds its data and runs from a file.

    Features are kept in 8 bits, at most 64 voxels a side; what is alike is computed in the page.

    Args:
        path: name of the file, replaced as a whole.
        scenes: the images, the features of all with the same channels.
        title: of the page, plain text.
        notes: sentences below, plain text.
        label_names: names of the label ids that have one.
    """
    low = min(float(scene.features.min()) for scene in scenes)
    high = max(float(scene.features.max()) for scene in scenes)
    data = {
        "views": [asdict(view) for view in VIEWS],
        "low": low,
        "high": high,
        "scenes": [_scene(scene, low, high, label_names or {}) for scene in scenes],
    }
    parts = {
        "title": html.escape(title),
        "notes": "\n".join(f"<p>{html.escape(note)}</p>" for note in notes),
        # In a script element nothing but "<" can end the text.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    template = files("mmreg_lightning.reporting").joinpath("feature_page.html").read_text(encoding="utf-8")
    # In one pass: a title may read like a placeholder.
    write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template))


def _scene(scene: Scene, low: float, high: float, label_names: Mapping[int, str]) -> dict[str, Any]:
    """What the page's script reads of an image; arrays are packed as ``page_data`` of the pair's page says.

    ``features`` is (C, ...), value = low + (high - low) byte / 255; positions are in mm from the common centre.
    """
    grid = scene.grid
    shown = shown_grid(grid)
    spacing = scene.feature_grid.spacing.tolist()
    shape, coarse = coarser(scene.features, spacing)
    features = F.adaptive_avg_pool3d(scene.features[None].float(), shape)[0]
    scale = max(high - low, 1e-12)
    volumes = {
        "image": pack_image(scene.image, grid, shown),
        "colours": pack(to_bytes(F.adaptive_avg_pool3d(scene.colours[None].float(), shape)[0]), coarse),
        "features": pack(to_bytes((features - low) / scale), coarse),
    }
    names = [""]
    if scene.labels is not None:
        labels = resample_volume(Volume(scene.labels[None], grid), shown, "nearest").data[0].numpy()
        ids, codes = np.unique(np.append(0, labels), return_inverse=True)
        codes = codes.reshape(-1)[1:].reshape(labels.shape).astype(np.min_scalar_type(len(ids)))
        names += [label_names.get(int(i), f"label {i}") for i in ids[1:]]
        volumes["labels"] = pack(codes, shown.spacing.tolist())
    point = grid.center if scene.point is None else scene.point
    return {
        "title": scene.title,
        "shape": list(shown.shape),
        "spacing": float(shown.spacing[0]),
        "center": grid.center.tolist(),
        "direction": grid.direction.tolist(),
        "focus": (grid.direction.T @ (point - grid.center)).tolist(),
        "labels": names,
        "volumes": volumes,
    }
