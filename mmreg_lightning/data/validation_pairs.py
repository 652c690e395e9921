"""Whole pairs to validate on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError


class ValidationPairs(Dataset[dict[str, Tensor | str]]):
    """Whole pairs on the fixed image's working grid, one an item, in the order of the data set's list."""

    def __init__(self, pairs: Sequence[Pair[ImageFiles]], cache: PreprocessingCache, label_ids: Sequence[int]) -> None:
        self.pairs = pairs
        self.cache = cache
        self.label_ids = set(label_ids)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """Images and labels as ``PairedPatches``, with the pair's ``name`` and what a solver may look at.

        ``inside`` (1, I, J, K) is 1 where both images are seen and the fixed mask is set; ``moving_inside``, where the
        moving image has a mask, is that mask, which moves with the image.
        """
        pair = self.pairs[index]
        fixed, moving = self.cache.pair(pair)
        inside = fixed.inside * moving.inside
        item: dict[str, Tensor | str] = {
            "name": pair.name,
            "fixed": fixed.image,
            "fixed_labels": fixed.labels.long(),
            "moving": moving.image,
            "moving_labels": moving.labels.long(),
            "inside": inside if fixed.mask is None else inside * fixed.mask,
        }
        return item if moving.mask is None else {**item, "moving_inside": moving.mask}

    def check(self) -> None:
        """Look at every pair before a training relies on it.

        Raises:
            UserError: the label maps of a pair share none of the organs.
        """
        for pair in self.pairs:
            shown = [set(image.labels.unique().tolist()) for image in self.cache.pair(pair)]
            if not shown[0] & shown[1] & self.label_ids:
                raise UserError(
                    f"{pair.fixed.image} and {pair.moving.image}: their labels share none of the organs to learn"
                )
