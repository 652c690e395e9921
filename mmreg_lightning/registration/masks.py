"""Masks that nobody gave: the body in a CT, and what is not padding in any image."""

from __future__ import annotations

import dataclasses

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.geometry.body import body_mask, is_hounsfield
from mmreg_lightning.registration.families import UNNAMED

CT = "ct"
"""The modality, in lower case, whose intensities are Hounsfield units."""


def with_body_masks(pair: Pair[Image], modalities: Pair[str]) -> tuple[Pair[Image], list[str]]:
    """The pair with a ``body_mask`` for each image that has no mask and gives a reason for one.

    A table or a head rest is seen by one of two scanners, and the border of padding by none of them.

    Args:
        pair: images, intensities as in the file.
        modalities: their names; those of CT are in Hounsfield units. An ``UNNAMED`` one is if it can be nothing else.

    Returns:
        The pair, and one sentence for each mask.
    """
    masked, notes = [], []
    for role, image, modality in zip(("fixed", "moving"), pair, modalities, strict=True):
        named = modality.casefold()
        hounsfield = named == CT or (modality == UNNAMED and is_hounsfield(image.volume))
        mask = None if image.mask is not None else body_mask(image.volume, hounsfield)
        if mask is not None:
            image = dataclasses.replace(image, mask=mask)
            what = "table, air and padding" if hounsfield else "padding, which has one value throughout,"
            notes.append(
                f"{image.volume.path or f'the {role} image'}: {what} outside of the body "
                f"({100 * (1 - float(mask.data.mean())):.0f} % of the voxels) "
                f"{'are' if hounsfield else 'is'} not looked at (--no-body-mask looks at all)."
            )
        masked.append(image)
    return Pair(masked[0], masked[1]), notes
