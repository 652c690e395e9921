"""The files that ``mmreg-features --image`` leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmreg_lightning.files import atomic_path, write_json, write_rows
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.inspection.effect_size import clustered_order
from mmreg_lightning.inspection.maps import MappedImage, Similarity, organ_effects
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
    "run.yaml",
    "features.json",
)
"""All files that can come out, in the order in which they are written: where the last one lies, all others do."""


@dataclass(frozen=True)
class Mapped:
    """What is written.

    Attributes:
        image: the first one.
        other: the second one, if any.
        alike: similarity to a point of the first one, in the second or else the same image.
        label_names: organ name of each label id that is known.
    """

    image: MappedImage
    other: MappedImage | None
    alike: Similarity | None
    label_names: Mapping[int, str]

    @property
    def images(self) -> list[MappedImage]:
        return [self.image] if self.other is None else [self.image, self.other]


def write_maps(folder: Path, mapped: Mapped, command: str | None) -> dict[str, Any]:
    """Write everything but run.yaml and features.json, which the caller ends with.

    Args:
        folder: exists.
        mapped: what to write.
        command: the command line.

    Returns:
        Content of features.json.
    """
    images = mapped.images
    # Fitted on both together: the same features have the same colour in both.
    first, second = images[0].features, images[-1].features
    colours = pca_colours(first, second)[: len(images)]
    pictures = [_picture(image, c) for image, c in zip(images, colours, strict=True)]
    low = min(float(image.features.min()) for image in images)
    high = max(float(image.features.max()) for image in images)
    for prefix, image, colour, picture in zip(("", "other_"), images, colours, pictures, strict=False):
        write_image(Volume(image.features, image.grid), folder / f"{prefix}features.nii.gz")
        _write_rgb(colour, image, folder / f"{prefix}colours.nii.gz")
        _save(folder / f"{prefix}channels.png", draw_channels(picture, low, high))
    _save(folder / "colours.png", draw_colours(pictures))
    effects = _write_effects(folder, mapped)
    if mapped.alike is not None:
        _write_similarity(folder, mapped, mapped.alike, pictures)
    notes = [
        "Features are kept in 8 bits here: where several places are nearly alike, the best match may be another one of "
        "them than in features.json and in the similarity map, which are exact."
    ]
    if command:
        notes.append(f"Command: {command}")
    # The page opens at the point that the similarity is of.
    first_shown = pictures[0] if mapped.alike is None else replace(pictures[0], point=mapped.alike.world)
    write_feature_page(
        folder / "features.html",
        [first_shown, *pictures[1:]],
        " and ".join(f"{p.title}" for p in pictures) + ": features",
        notes,
        mapped.label_names,
    )
    return {
        "channels": len(first),
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
        "similarity": None if mapped.alike is None else _numbers(mapped.alike),
    }


def write_end(folder: Path, content: Mapping[str, Any]) -> None:
    """Write features.json, the last file."""
    write_json(folder / "features.json", content)


def _write_effects(folder: Path, mapped: Mapped) -> list[dict[str, Any]]:
    found = [(image, effects) for image in mapped.images if (effects := organ_effects(image)) is not None]
    if not found:
        return []
    ids = sorted(set.intersection(*(set(own) for _, (own, _) in found)))
    if not ids:
        return []
    names = [mapped.label_names.get(i, f"label {i}") for i in ids]
    tables = [table[:, [own.index(i) for i in ids]] for _, (own, table) in found]
    order = clustered_order(np.mean(tables, axis=0))
    rows = [
        {"image": _title(image), "channel": channel}
        | {names[column]: round(float(table[channel, column]), 4) for column in order[1]}
        for (image, _), table in zip(found, tables, strict=True)
        for channel in order[0]
    ]
    write_rows(folder / "effect_sizes.csv", rows)
    _save(folder / "effect_sizes.png", draw_effects(tables, [_title(image) for image, _ in found], names, order))
    return rows


def _write_similarity(folder: Path, mapped: Mapped, alike: Similarity, pictures: Sequence[FeaturePicture]) -> None:
    target = mapped.images[-1]
    write_image(Volume(alike.map[None].float(), target.grid), folder / "similarity.nii.gz")
    point, match = (
        image.volume.grid.direction.T @ (world - image.volume.grid.center)
        for image, world in ((mapped.image, alike.world), (target, alike.match_world))
    )
    figure = draw_similarity(pictures[0], point.tolist(), pictures[-1], alike.map, match.tolist())
    _save(folder / "similarity.png", figure)


def _numbers(alike: Similarity) -> dict[str, Any]:
    return {
        "point_voxel": list(alike.point),
        "point_world_ras_mm": alike.world.tolist(),
        "match_voxel": alike.match_voxel.tolist(),
        "match_world_ras_mm": alike.match_world.tolist(),
        "match_similarity": float(alike.map.max()),
        "part_above_half": float((alike.map > 0.5).float().mean()),
    }


def _focus(image: MappedImage) -> np.ndarray:
    """World RAS mm: the middle of the labels, else of the image."""
    grid = image.volume.grid
    if image.labels is None or not bool((image.labels.data > 0).any()):
        return grid.center
    middle = (image.labels.data[0] > 0).nonzero().double().mean(dim=0).numpy()
    return grid.affine[:3, :3] @ middle + grid.affine[:3, 3]


def _picture(image: MappedImage, colours: torch.Tensor) -> FeaturePicture:
    labels = None if image.labels is None else image.labels.data[0]
    grid = image.volume.grid
    return FeaturePicture(_title(image), image.shown, grid, image.features, image.grid, colours, labels, _focus(image))


def _title(image: MappedImage) -> str:
    name = image.volume.path.name if image.volume.path is not None else "image"
    return f"{image.modality} {name.removesuffix('.gz').removesuffix('.nii')}"


def _write_rgb(colours: torch.Tensor, image: MappedImage, path: Path) -> None:
    """A NIfTI of type RGB24, which viewers show in colour."""
    array = np.moveaxis((colours * 255).round().numpy().astype(np.uint8), 0, -1)
    rgb = np.ascontiguousarray(array).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    save_array(rgb, NativeGrid.of(image.grid), path)


def _save(path: Path, figure: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(figure_png(figure))
