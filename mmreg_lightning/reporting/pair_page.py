"""A registered pair as one interactive page: linked planes, overlays and numbers, in a file that needs no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mmreg_lightning.files import write_text
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.packed import coarse_grid, pack, pack_coarse, pack_scene
from mmreg_lightning.reporting.pages import Table, render
from mmreg_lightning.reporting.pair_figure import (
    FIXED_COLOUR,
    FIXED_MASK_COLOUR,
    MOVING_COLOUR,
    MOVING_MASK_COLOUR,
    PairPicture,
)
from mmreg_lightning.reporting.planes import VIEWS

_SMALLEST_STEP = 0.1  # mm, the finest resolution of a displacement
_OCTAVES = 4.0  # volume changes are kept from 2^-4 to 2^4
_CODES = 127  # codes on each side of 128, which is no change; a fold is 0


def write_page(
    path: str | os.PathLike[str],
    picture: PairPicture,
    grid: Grid,
    title: str,
    tables: Sequence[tuple[str, Table]],
    notes: Sequence[str] = (),
    label_names: Mapping[int, str] | None = None,
) -> None:
    """Write a registered pair as one HTML file that works from disk, without a network.

    The page shows the pair on an isotropic grid about the centre of the images, at most 128 voxels a side, in 8 bits.

    Args:
        path: name of the file, which is replaced as a whole.
        picture: what to show. Outlines need label maps or masks and the confidence its map; everything else is always
            there. The displacement has two voxels or more along each axis.
        grid: of ``picture.fixed``, in the world. Positions are shown in its millimetres.
        title: of the page, plain text.
        tables: heading and rows of each table. The first table is shown beside the planes, the others below.
        notes: sentences below the tables, plain text.
        label_names: names of the label ids that have one; another id 7 is called "label 7".

    Raises:
        ValueError: the images are not on ``grid``.
    """
    html = render(
        "pair_page.html",
        title=title,
        tables=tables,
        notes=notes,
        fixed_colour=FIXED_COLOUR,
        moving_colour=MOVING_COLOUR,
        fixed_mask_colour=FIXED_MASK_COLOUR,
        moving_mask_colour=MOVING_MASK_COLOUR,
        data=_page_data(picture, grid, label_names or {}),
    )
    write_text(path, html)


def _page_data(picture: PairPicture, grid: Grid, label_names: Mapping[int, str]) -> dict[str, Any]:
    """A scene, see ``packed``, with these volumes.

    - ``fixed``, ``before``, ``after``: the fixed image, and the moving image before and after the deformation.
    - ``fixed_labels``, ``before_labels``, ``after_labels``, where given: their label maps.
    - ``fixed_mask``, ``before_mask``, ``after_mask``, where given: their masks, 0 or 1.
    - ``displacement``: (3, ...) along I, J, K, in units of its ``step`` in mm.
    - ``jacobian``: 0 where space folds within the voxel, else 128 + 127 / 4 log2 J, J from 1/16 to 16.
    - ``confidence``, where given: (1, ...), 255 is 1.
    - ``fixed_colours``, ``after_colours``: (3, ...) red, green, blue of the features.
    """
    labels = {
        "fixed_labels": picture.fixed_labels,
        "before_labels": picture.moving_labels,
        "after_labels": picture.warped_labels,
    }
    images = {"fixed": picture.fixed, "before": picture.moving, "after": picture.warped}
    masks = {
        "fixed_mask": picture.fixed_mask,
        "before_mask": picture.moving_mask,
        "after_mask": picture.warped_mask,
    }
    data = pack_scene(grid, picture.focus().tolist(), images, labels, label_names, masks)
    coarse = dict(zip(("fixed_colours", "after_colours"), picture.colours, strict=True))
    if picture.confidence is not None:
        coarse["confidence"] = picture.confidence[None]
    data["volumes"] |= _deformation(picture)
    data["volumes"] |= {name: pack_coarse(values, picture.feature_spacing) for name, values in coarse.items()}
    views = [asdict(view) for view in VIEWS]
    return data | {"views": views, "octaves": _OCTAVES, "displacement_limit": picture.displacement_limit}


def _deformation(picture: PairPicture) -> dict[str, Any]:
    """Displacement and volume change on the ``coarse_grid``; a fold anywhere in one of its voxels is kept."""
    field = picture.displacement.detach().cpu().double()[None]
    size = torch.tensor(list(picture.displacement_spacing), dtype=field.dtype).view(1, 3, 1, 1, 1)
    determinant = jacobian_determinant(field / size)
    shape, spacing = coarse_grid(field, picture.displacement_spacing)
    folds = F.adaptive_max_pool3d(-determinant, shape) >= 0
    octaves = F.adaptive_avg_pool3d(determinant.clamp(2**-_OCTAVES, 2**_OCTAVES).log2(), shape)
    codes = (128 + (octaves * (_CODES / _OCTAVES)).round()).masked_fill(folds, 0)
    coarse = F.adaptive_avg_pool3d(field, shape)[0]
    step = max(_SMALLEST_STEP, float(coarse.abs().max()) / np.iinfo(np.int16).max)
    return {
        "displacement": {**pack((coarse / step).round().numpy().astype("<i2"), spacing), "step": step},
        "jacobian": pack(codes[0, 0].numpy().astype(np.uint8), spacing),
    }
