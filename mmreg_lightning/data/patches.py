"""Pairs of training patches: one fixed and one moving image, cut at the same place, each augmented on its own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torchio as tio
from torch import Tensor
from torch.utils.data import Dataset

from mmreg_lightning.data.cache import PreparedImage, PreprocessingCache
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED

log = logging.getLogger(__name__)

Pairing = Literal["intra", "inter", "both"]


Content = tuple[Tensor, Tensor]
"""An image and its label map, both (1, I, J, K)."""


class PairedPatches(Dataset[dict[str, Tensor | str]]):
    """Random training pairs, numbered without end: item n is the same in every process, worker and resumed run.

    Every run of as many items as there are fixed images (or listed pairs) shows each of these once, in random order.

    Images of a pair are placed centre on centre: Learn2Reg's images of a data set share one grid, so this is how a
    registration finds them. A patch covers the same voxels of both. Its centre lies on an organ of the fixed image,
    which is drawn first, so that small organs are seen as often as large ones. That it is the fixed one's is our
    choice: the descent moves the fixed grid, and an organ of the moving image lies about there, too. One that is
    labelled in moving images alone is seen as often as it lies near the others.

    Args:
        dataset: the data set; only its training images are used.
        cache: gives the prepared images.
        label_ids: the organs that patches are balanced over.
        pairing: ``intra`` (the listed pairs), ``inter`` (any two subjects), ``both`` (one or the other, half each).
        patch_size: voxels a side, or None for the whole working grid. With one number, axes on which the images are
            shorter are taken whole, if it fits another axis.
        length: pairs an epoch.
        augmentation: applied to each image on its own; None leaves images as they are.
        margin: voxels about the patch that augmentation may draw from.
        seed: other seeds give other items.

    Raises:
        UserError: there is no pair of the kind asked for, or the patch size is not positive, or larger than the images.
    """

    def __init__(
        self,
        dataset: Learn2RegDataset,
        cache: PreprocessingCache,
        label_ids: Sequence[int],
        pairing: Pairing,
        patch_size: int | Sequence[int] | None,
        length: int,
        augmentation: tio.Transform | None,
        margin: int = 8,
        seed: int = 0,
    ) -> None:
        if pairing not in ("intra", "inter", "both"):
            raise UserError(f"data.pairing={pairing!r}: must be 'intra', 'inter' or 'both'")
        self.cache = cache
        self.spacing: list[float] = np.broadcast_to(np.asarray(cache.spacing, dtype=float), (3,)).tolist()
        self.label_ids = list(label_ids)
        self.pairing = pairing
        self.length = length
        self.seed = seed
        self.augmentation = augmentation
        self.listed = list(dataset.pairs["train"])
        self.fixed = [r for r in dataset.train if r.modality == dataset.fixed_modality]
        self.moving = [r for r in dataset.train if r.modality == dataset.moving_modality]
        if pairing != "inter" and not self.listed:
            raise UserError(f"data.pairing={pairing!r}: {dataset.description} lists no training pairs")
        if pairing != "intra":
            self.fixed = [r for r in self.fixed if self._partners(r)]
            if not self.fixed:
                raise UserError(
                    f"data.pairing={pairing!r}: {dataset.description} lists no {dataset.fixed_modality} and "
                    f"{dataset.moving_modality} training images of two subjects"
                )
        first = self.listed[0].fixed if pairing == "intra" else self.fixed[0]
        self.shape = tuple(self.cache.image(first).image.shape[1:])
        self.patch_size = _sides(patch_size, self.shape)
        room = [n - p for n, p in zip(self.shape, self.patch_size, strict=True)]
        self.margin = [0 if augmentation is None else min(margin, n // 2) for n in room]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """``fixed``, ``moving`` (1, I, J, K) float32 and ``fixed_labels``, ``moving_labels`` (1, I, J, K) int64.

        Labels are ``IGNORED`` outside an image's mask. ``fixed_labelled``, ``moving_labelled`` (L,) bool say which of
        the organs ``label_ids`` are labelled in each image. ``images`` names the files of both, for
        messages.

        Args:
            index: number of the item, 0 or more; it may exceed the length, which is that of an epoch.
        """
        # The process's own random state is left alone: the network's may depend on it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, index))
            return self._item(index)

    def _item(self, index: int) -> dict[str, Tensor | str]:
        files = self._draw_pair(index)
        pair = files.map(lambda own: self._placed(self.cache.image(own)))
        corner = self._draw_corner(pair.fixed[1])
        (fixed, fixed_labels), (moving, moving_labels) = pair.map(lambda content: self._cut(content, corner))
        return {
            "fixed": fixed,
            "fixed_labels": fixed_labels,
            "moving": moving,
            "moving_labels": moving_labels,
            "fixed_labelled": self._labelled(files.fixed),
            "moving_labelled": self._labelled(files.moving),
            "images": f"{files.fixed.image.name} and {files.moving.image.name}",
        }

    def _labelled(self, files: ImageFiles) -> Tensor:
        own = self.label_ids if files.labelling is None else files.labelling.labelled
        return torch.tensor([i in own for i in self.label_ids])

    def _draw_pair(self, index: int) -> Pair[ImageFiles]:
        if self.pairing == "both":
            intra, index = index % 2 == 0, index // 2
        else:
            intra = self.pairing == "intra"
        if intra:
            return self.listed[self._turn(index, len(self.listed))]
        fixed: ImageFiles = self.fixed[self._turn(index, len(self.fixed))]
        others = self._partners(fixed)
        return Pair(fixed, others[_randint(len(others))])

    def _turn(self, index: int, count: int) -> int:
        """Whose turn it is: each of ``count`` once in every round, in an order of its own."""
        round_number, place = divmod(index, count)
        generator = torch.Generator().manual_seed(_mixed(self.seed, -1 - round_number))
        return int(torch.randperm(count, generator=generator)[place])

    def _partners(self, fixed: ImageFiles) -> list[ImageFiles]:
        return [r for r in self.moving if r.subject != fixed.subject]

    def _placed(self, prepared: PreparedImage) -> Content:
        """On the data set's common shape, centre on centre; Learn2Reg data sets have one shape anyway."""
        image, labels = prepared.image, prepared.labels
        if prepared.mask is not None:
            labels = labels.masked_fill(prepared.mask < 0.5, IGNORED)
        if tuple(image.shape[1:]) == self.shape:
            return image, labels
        # It fills up with 0, which is the background of labels, but not the darkest value of every image.
        darkest = image.min().clamp(max=0)
        placed, labels = _transformed(image - darkest, labels, tio.CropOrPad(self.shape), self.spacing)
        return placed + darkest, labels

    def _draw_corner(self, labels: Tensor) -> tuple[int, int, int]:
        """First voxel of a patch about a random voxel of a random organ, moved as far as needed to fit."""
        free = [n - p for n, p in zip(self.shape, self.patch_size, strict=True)]
        if not any(free):
            return (0, 0, 0)
        present = [i for i in self.label_ids if bool((labels == i).any())]
        if present:
            voxels = (labels[0] == present[_randint(len(present))]).nonzero()
            centre = voxels[_randint(len(voxels))].tolist()
        else:
            centre = [_randint(n) for n in self.shape]
        i, j, k = (min(max(c - p // 2, 0), room) for c, p, room in zip(centre, self.patch_size, free, strict=True))
        return (i, j, k)

    def _cut(self, content: Content, corner: tuple[int, int, int]) -> Content:
        """The augmented patch; augmentation works on the patch and its margin, so it brings in real surroundings."""
        slices, inner = [slice(None)], [slice(None)]
        for c, p, m, n in zip(corner, self.patch_size, self.margin, self.shape, strict=True):
            first, last = max(c - m, 0), min(c + p + m, n)
            slices.append(slice(first, last))
            inner.append(slice(c - first, c - first + p))
        image, labels = content[0][tuple(slices)].clone(), content[1][tuple(slices)].long()
        if self.augmentation is not None:
            image, labels = _transformed(image, labels, self.augmentation, self.spacing)
        return image[tuple(inner)].contiguous(), labels[tuple(inner)].contiguous()


def _transformed(image: Tensor, labels: Tensor, transform: tio.Transform, spacing: Sequence[float]) -> Content:
    affine = np.diag([*spacing, 1.0])  # augmentation is in millimetres
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=image, affine=affine), labels=tio.LabelMap(tensor=labels, affine=affine)
    )
    out = transform(subject)
    return out.get_image("image").data.float(), out.get_image("labels").data.long()


def _mixed(seed: int, number: int) -> int:
    """A seed for one of many random states: neighbours must have nothing in common."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _randint(n: int) -> int:
    return int(torch.randint(n, ()))


def _sides(patch_size: int | Sequence[int] | None, shape: Sequence[int]) -> tuple[int, int, int]:
    """Voxels of a patch along each axis; None is the whole ``shape``."""
    if patch_size is None:
        patch_size = shape
    elif isinstance(patch_size, int) and min(shape) < patch_size <= max(shape):
        sides = [min(patch_size, n) for n in shape]
        log.warning(
            "data.patch_size=%d: patches have %s voxels, because the images have %s", patch_size, sides, list(shape)
        )
        patch_size = sides
    sides = list(patch_size) if isinstance(patch_size, Sequence) else [patch_size] * 3
    if len(sides) != 3 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"data.patch_size={patch_size}: must be a positive number of voxels, or three, or null")
    if any(side > n for side, n in zip(sides, shape, strict=True)):
        raise UserError(
            f"data.patch_size={patch_size}: larger than the images, which have {tuple(shape)} voxels at the "
            "working spacing"
        )
    return sides[0], sides[1], sides[2]
