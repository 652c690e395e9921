"""The files of ``mmreg-features --image``: feature maps, pictures and an interactive page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from mmreg_lightning.files import atomic_path, write_rows
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.inspection.maps import MappedImage, Similarity, clustered_order, organ_effects
from mmreg_lightning.inspection.rows import Row
from mmreg_lightning.io.images import save_array, write_image
from mmreg_lightning.reporting.colours import pca_colours
from mmreg_lightning.reporting.feature_figures import (
    FeaturePicture,
    draw_channels,
    draw_colours,
    draw_effects,
    draw_similarity,
)
from mmreg_lightning.reporting.feature_page import write_feature_page
from mmreg_lightning.reporting.pages import figure_png

_PARTS = ("features.nii.gz", "colours.nii.gz", "channels.png")
OUTPUTS = (
    *_PARTS,
    *(f"other_{name}" for name in _PARTS),
    "colours.png",
    "effect_sizes.csv",
    "effect_sizes.png",
    "similarity.nii.gz",
    "similarity.png",
    "features.html",
)
"""All possible files, in the order in which they are written."""
_NOTE = (
    "The page stores features in 8 bits: where several places are nearly equal, its best match may be another one of "
    "them than in features.json and in the similarity map, which are exact."
)


def write_maps(
    folder: Path,
    images: Sequence[MappedImage],
    alike: Similarity | None,
    label_names: Mapping[int, str],
    command: str | None,
) -> dict[str, Any]:
    """Write files that ``OUTPUTS`` names.

    Args:
        folder: exists.
        images: one, or two in one feature space.
        alike: similarity of the last image to a point of the first one.
        label_names: organ name of each label id that is known.
        command: the command line.

    Returns:
        Content of features.json.
    """
    # Fitted to both images together: the same features have the same colour in both.
    colours = pca_colours(images[0].features, images[-1].features)[: len(images)]
    pictures = [_picture(image, own) for image, own in zip(images, colours, strict=True)]
    low = min(float(image.features.min()) for image in images)
    high = max(float(image.features.max()) for image in images)
    for prefix, image, colour, picture in zip(("", "other_"), images, colours, pictures, strict=False):
        write_image(Volume(image.features, image.grid), folder / f"{prefix}features.nii.gz")
        _write_rgb(colour, image, folder / f"{prefix}colours.nii.gz")
        _save(folder / f"{prefix}channels.png", draw_channels(picture, low, high))
    _save(folder / "colours.png", draw_colours(pictures))
    effects = _write_effects(folder, images, label_names)
    if alike is not None:
        write_image(Volume(alike.map[None].float(), images[-1].grid), folder / "similarity.nii.gz")
        point, match = images[0].from_centre(alike.world), images[-1].from_centre(alike.match_world)
        _save(folder / "similarity.png", draw_similarity(pictures[0], point, pictures[-1], alike.map, match))
    # The page opens at the point that the similarity is of.
    scenes = pictures if alike is None else [replace(pictures[0], point=alike.world), *pictures[1:]]
    title = " and ".join(image.title for image in images) + ": features"
    notes = [_NOTE, f"Command: {command}"] if command else [_NOTE]
    write_feature_page(folder / "features.html", scenes, title, notes, label_names)
    return {
        "channels": len(images[0].features),
        "images": [
            {
                "image": str(image.volume.path),
                "modality": image.modality,
                "feature_grid": {"shape": list(image.grid.shape), "affine": image.grid.affine.tolist()},
                "channel_mean": image.features.flatten(1).mean(dim=1).tolist(),
                "channel_sd": image.features.flatten(1).std(dim=1).tolist(),
            }
            for image in images
        ],
        "effect_sizes": effects,
        "similarity": None if alike is None else alike.numbers(),
    }


def _write_effects(folder: Path, images: Sequence[MappedImage], label_names: Mapping[int, str]) -> list[Row]:
    """Effect sizes of the organs that all images with labels show, one row for each image and channel."""
    found = [(image.title, own) for image in images if (own := organ_effects(image)) is not None]
    ids = sorted(set.intersection(*(set(own) for _, own in found))) if found else []
    if not ids:
        return []
    names = [label_names.get(i, f"label {i}") for i in ids]
    titles = [title for title, _ in found]
    tables = [np.stack([own[i] for i in ids], axis=1) for _, own in found]
    order = clustered_order(np.mean(tables, axis=0))
    rows = [
        {"image": title, "channel": channel}
        | {names[column]: round(float(table[channel, column]), 4) for column in order[1]}
        for title, table in zip(titles, tables, strict=True)
        for channel in order[0]
    ]
    write_rows(folder / "effect_sizes.csv", rows)
    _save(folder / "effect_sizes.png", draw_effects(tables, titles, names, order))
    return rows


def _picture(image: MappedImage, colours: Tensor) -> FeaturePicture:
    labels = None if image.labels is None else image.labels.data[0]
    grid = image.volume.grid
    return FeaturePicture(image.title, image.shown, grid, image.features, image.grid, colours, labels, image.focus)


def _write_rgb(colours: Tensor, image: MappedImage, path: Path) -> None:
    """Write a NIfTI of type RGB24, which viewers show in colour."""
    array = np.moveaxis((colours * 255).round().numpy().astype(np.uint8), 0, -1)
    rgb = np.ascontiguousarray(array).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    save_array(rgb, NativeGrid.of(image.grid), path)


def _save(path: Path, figure: Figure) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(figure_png(figure))
