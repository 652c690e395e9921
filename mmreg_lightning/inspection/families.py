"""The feature families of a study: the same images, grid and stride for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.cache import PreparedImage, PreprocessingCache
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.features.labels import LabelFeatures
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.registration.families import FeatureFamily, family_of_config
from mmreg_lightning.reporting import pages

NAMES = {"learned": "learned", "mind_ssc": "MIND-SSC", "intensity": "intensity", "labels": "true labels"}
COLOURS = {
    "learned": pages.COLOURS[0],
    "mind_ssc": pages.COLOURS[1],
    "intensity": pages.COLOURS[3],
    "labels": pages.COLOURS[2],
    "before": pages.COLOURS[7],
}
"""The same for each family in every picture."""
MARKERS = {"learned": "o", "mind_ssc": "s", "intensity": "^", "labels": "D"}


@dataclass(frozen=True, eq=False)
class StudiedFamily:
    """A feature family with what a study needs besides.

    Attributes:
        family: the features.
        cache: gives images as these features want them.
        step: the regularised step with a noise floor that suits them.
    """

    family: FeatureFamily
    cache: PreprocessingCache
    step: DescentStep

    @property
    def name(self) -> str:
        """Key of ``NAMES``."""
        return self.family.name

    @property
    def features(self) -> FeatureExtractor:
        """The extractor."""
        return self.family.features

    @torch.no_grad()
    def of_image(self, files: ImageFiles) -> tuple[Tensor, PreparedImage]:
        """(C, i, j, k) on the image's own grid, and the image."""
        prepared = self.cache.image(files)
        return self.features(prepared.image[None], files.modality)[0], prepared

    @torch.no_grad()
    def of_pair(self, pair: Pair[ImageFiles]) -> Pair[Tensor]:
        """Both (C, i, j, k) on the fixed image's grid."""
        fixed, moving = self.cache.pair(pair)
        return Pair(
            self.features(fixed.image[None], pair.fixed.modality)[0],
            self.features(moving.image[None], pair.moving.modality)[0],
        )


def make_families(learned: FeatureFamily, dataset: Learn2RegDataset, cache_dir: str | Path) -> list[StudiedFamily]:
    """Learned features, MIND-SSC and intensity, at the checkpoint's spacing and stride.

    Args:
        learned: of the checkpoint.
        dataset: that it fits.
        cache_dir: where prepared arrays are kept.
    """
    assert learned.model is not None and learned.spacing is not None, "a checkpoint has both"
    stride, modalities = learned.features.stride, learned.model.modalities
    step: DescentStep = instantiate(learned.model.hparams["descent"]["step"])
    families = [
        learned,
        # The patch that mmreg-compare chose on the phantoms and on the prostate images.
        family_of_config("mind_ssc", stride=stride, radius=1, dilation=1),
        # Learned features and intensity see the same images.
        family_of_config("intensity", stride=stride, normalisation=None),
    ]
    studied = []
    for family in families:
        recipes = {m: (learned if family.name == "intensity" else family).recipe(m) for m in modalities}
        cache = PreprocessingCache(cache_dir, learned.spacing, recipes, list(dataset.label_names))
        alpha = family.step.get("alpha", step.alpha)
        studied.append(StudiedFamily(family, cache, DescentStep(step.regulariser, alpha, step.max_step, step.forces)))
    return studied


def label_features(labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
    """Features of the true labels (1, 1, I, J, K): (1, len(ids), i, j, k)."""
    features: Tensor = LabelFeatures(ids, stride)(labels, "")
    return features
