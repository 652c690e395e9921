"""Where the body of a patient is in an image: without table, head rest and padding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mmreg_lightning.functional.intensity import padding
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

TISSUE_HU = -400.0
"""Between foam, air and lungs on one side and fat on the other."""
_SPACING = 3.0  # mm: finer voxels find the same body
_THIN = 5.0  # mm: what a ball of this radius does not fit into is no body: the shells of a table, tubes, wires
_MARGIN = 6.0  # mm beyond the skin, whose edge is the best that features can see
_OTHER_BODY = 0.25  # a second part of at least this share of the largest one belongs to it: the other leg


def body_mask(image: Volume, hounsfield: bool) -> Volume | None:
    """Mask of the body, (1, I, J, K) float32 of 0 and 1; None where the image gives no reason for one.

    In Hounsfield units the body is the largest part denser than ``TISSUE_HU`` that is not thin, holes filled, and a
    margin beyond its skin. In other units only padding is known not to be body, see ``functional.intensity.padding``.

    Args:
        image: (1, I, J, K), intensities as in the file.
        hounsfield: whether they are Hounsfield units.
    """
    padded = padding(image.data)
    inside = None if padded is None else ~padded
    if hounsfield:
        body = _ct_body(image)
        if body is not None:
            inside = body if inside is None else inside & body
    if inside is None or not inside.any() or inside.all():
        return None
    return Volume(inside.float(), image.grid, image.native, image.path)


def is_hounsfield(image: Volume) -> bool:
    """Whether intensities can only be Hounsfield units: air is far below 0 in no other unit."""
    return float(image.data.min()) < TISSUE_HU


def _ct_body(image: Volume) -> torch.Tensor | None:
    """(1, I, J, K) bool; None where nothing is dense or everything is body."""
    grid = image.grid.resampled([max(s, _SPACING) for s in image.grid.spacing.tolist()])
    coarse = resample_volume(image, grid, fill=float(image.data.min())).data[0].numpy()
    tissue = coarse > TISSUE_HU
    labels, count = ndimage.label(_opened(tissue, grid, _THIN))
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.flatnonzero(sizes >= _OTHER_BODY * sizes.max()) + 1
    # Opening took away what is thin: ears, fingers; what touches the rest comes back.
    body = _dilated(np.isin(labels, kept), grid, _THIN) & tissue
    body = ndimage.binary_fill_holes(body)
    for k in range(body.shape[2]):  # lungs and bowel that the field of view cuts open
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    body = _dilated(body, grid, _MARGIN)
    if body.all():
        return None
    mask = Volume(torch.from_numpy(body)[None].float(), grid)
    return resample_volume(mask, image.grid, "nearest").data > 0.5


def _opened(tissue: NDArray[np.bool_], grid: Grid, radius: float) -> NDArray[np.bool_]:
    """Morphological opening by a ball of ``radius`` mm; beyond the border the image goes on as it ends.

    So a body that is cut off there does not lose its ends.
    """
    margins = [int(np.ceil(2 * radius / side)) for side in grid.spacing]
    padded = np.pad(tissue, [(margin, margin) for margin in margins], mode="edge")
    core = ndimage.distance_transform_edt(padded, sampling=grid.spacing) > radius
    inner = tuple(slice(margin, -margin) for margin in margins)
    return _dilated(core, grid, radius)[inner] & tissue


def _dilated(mask: NDArray[np.bool_], grid: Grid, radius: float) -> NDArray[np.bool_]:
    """What lies within ``radius`` mm of a mask."""
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(~mask, sampling=grid.spacing) <= radius
    return near
