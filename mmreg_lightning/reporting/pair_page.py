"""A registered pair as one interactive page: linked planes, overlays and numbers, in a file that needs no network."""

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
import torch
import torch.nn.functional as F

from mmreg_lightning.files import write_text
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.reporting.packed import coarser, pack, pack_image, shown_grid, to_bytes
from mmreg_lightning.reporting.pair_figure import FIXED_COLOUR, MOVING_COLOUR, PairPicture
from mmreg_lightning.reporting.planes import VIEWS

_SMALLEST_STEP = 0.1  # mm between the values of a displacement
_OCTAVES = 4.0  # the volume change is kept from 1/16 to 16
_CODES = 127  # steps to each side of no change, whose code is 128; a fold is 0


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        heading: above the table.
        columns: their headings; the first column names the rows.
        rows: each as long as ``columns``.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_page(
    path: str | os.PathLike[str],
    picture: PairPicture,
    grid: Grid,
    title: str,
    tables: Sequence[Table],
    notes: Sequence[str] = (),
    label_names: Mapping[int, str] | None = None,
) -> None:
    """Write a registered pair as an HTML page that holds its data and runs from a file, without a network.

    The page shows the pair on an isotropic grid about the centre of the images, at most 128 voxels a side, in 8 bits.

    Args:
        path: name of the file, replaced as a whole.
        picture: what to show; outlines need label maps, everything else is always there. The displacement has two
            voxels or more along each axis.
        grid: of ``picture.fixed``, in the world: positions are shown in its millimetres.
        title: of the page, plain text.
        tables: the first one is shown beside the planes, the others below.
        notes: sentences below the tables, plain text.
        label_names: names of the label ids that have one; another id 7 is called "label 7".

    Raises:
        ValueError: the images are not on ``grid``.
    """
    data = page_data(picture, grid, label_names or {})
    parts = {
        "title": html.escape(title),
        "tables": "\n".join(_table(table) for table in tables),
        "notes": "\n".join(f"<p>{html.escape(note)}</p>" for note in notes),
        "fixed_colour": FIXED_COLOUR,
        "moving_colour": MOVING_COLOUR,
        # In a script element nothing but "<" can end the text.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    template = files("mmreg_lightning.reporting").joinpath("pair_page.html").read_text(encoding="utf-8")
    # In one pass: a title may read like a placeholder.
    write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template))


def page_data(picture: PairPicture, grid: Grid, label_names: Mapping[int, str]) -> dict[str, Any]:
    """What the page's script reads, as JSON knows it.

    Positions are in mm from the common centre along the axes I, J, K. Arrays are in ``volumes`` by name, each with its
    ``shape`` (I, J, K) or (C, I, J, K), ``spacing`` (3,) in mm, ``type`` (uint8, uint16 or int16), and ``data``: base64
    of a zlib stream of differences, each value less the one before it in the type's own arithmetic, last axis fastest,
    little-endian. All are about one centre.

    - ``fixed``, ``before``, ``after``: 255 is 1.
    - ``fixed_labels``, ``before_labels``, ``after_labels``, where given: indices of ``labels``, the organs' names.
    - ``displacement``: (3, ...) along I, J, K, in units of ``step`` mm.
    - ``jacobian``: 0 where space folds within the voxel, else 128 + 127 / 4 log2 J, J from 1/16 to 16.
    - ``confidence``, where given: 255 is 1.
    - ``fixed_colours``, ``after_colours``: (3, ...) red, green, blue of the features.

    Args:
        picture, grid, label_names: see ``write_page``.

    Raises:
        ValueError: see ``write_page``.
    """
    shown = shown_grid(grid)
    volumes = {
        name: pack_image(image, grid, shown)
        for name, image in (("fixed", picture.fixed), ("before", picture.moving), ("after", picture.warped))
    }
    names, labels = _labels(picture, grid, shown, label_names)
    volumes |= labels
    volumes |= _deformation(picture)
    if picture.confidence is not None:
        size = coarser(picture.confidence, picture.feature_spacing)
        coarse = F.adaptive_avg_pool3d(picture.confidence[None, None], size[0])[0, 0]
        volumes["confidence"] = pack(to_bytes(coarse), size[1])
    for name, colours in zip(("fixed_colours", "after_colours"), picture.colours, strict=True):
        spacing = coarser(colours, picture.feature_spacing)
        volumes[name] = pack(to_bytes(F.adaptive_avg_pool3d(colours[None], spacing[0])[0]), spacing[1])
    return {
        "views": [asdict(view) for view in VIEWS],
        "shape": list(shown.shape),
        "spacing": float(shown.spacing[0]),
        "center": grid.center.tolist(),
        "direction": grid.direction.tolist(),
        "focus": picture.focus().tolist(),
        "labels": names,
        "octaves": _OCTAVES,
        "longest": picture.longest,
        "volumes": volumes,
    }


def _labels(
    picture: PairPicture, grid: Grid, shown: Grid, label_names: Mapping[int, str]
) -> tuple[list[str], dict[str, Any]]:
    """Names by code, and the label maps as codes: ids may be any integers, codes count from 1."""
    given = {
        "fixed_labels": picture.fixed_labels,
        "before_labels": picture.moving_labels,
        "after_labels": picture.warped_labels,
    }
    resampled = {
        name: resample_volume(Volume(labels[None].detach().cpu(), grid), shown, "nearest").data[0].numpy()
        for name, labels in given.items()
        if labels is not None
    }
    ids = sorted({int(i) for labels in resampled.values() for i in np.unique(labels)} - {0})
    known = np.array([0, *ids])
    order = np.argsort(known)
    volumes = {}
    for name, labels in resampled.items():
        codes = order[np.searchsorted(known, labels, sorter=order)]
        volumes[name] = pack(codes.astype(np.min_scalar_type(len(ids))), shown.spacing.tolist())
    return ["", *(label_names.get(i, f"label {i}") for i in ids)], volumes


def _deformation(picture: PairPicture) -> dict[str, Any]:
    """Displacement and volume change on a grid no finer than the eye needs; a fold anywhere in a voxel is kept."""
    field = picture.displacement.detach().cpu().double()[None]
    size = torch.tensor(list(picture.displacement_spacing), dtype=field.dtype).view(1, 3, 1, 1, 1)
    determinant = jacobian_determinant(field / size)
    shape, spacing = coarser(field, picture.displacement_spacing)
    folds = F.adaptive_max_pool3d(-determinant, shape) >= 0
    octaves = F.adaptive_avg_pool3d(determinant.clamp(2**-_OCTAVES, 2**_OCTAVES).log2(), shape)
    codes = (128 + (octaves * (_CODES / _OCTAVES)).round()).masked_fill(folds, 0)
    coarse = F.adaptive_avg_pool3d(field, shape)[0]
    step = max(_SMALLEST_STEP, float(coarse.abs().max()) / np.iinfo(np.int16).max)
    return {
        "displacement": {**pack((coarse / step).round().numpy().astype("<i2"), spacing), "step": step},
        "jacobian": pack(codes[0, 0].numpy().astype(np.uint8), spacing),
    }


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in table.rows
    )
    caption = f"<caption>{html.escape(table.heading)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
