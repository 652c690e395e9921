"""The feature families of a study: the same images, grid and stride for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.cache import PreparedImage, PreprocessingCache
from mmreg_lightning.data.learn2reg import ImageRecord, Learn2RegDataset, PairRecord
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.features.checkpoint import TrainedModel
from mmreg_lightning.features.labels import LabelFeatures
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.registration.settings import MIND_SSC, UNCLIPPED
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
MIND_RADIUS, MIND_DILATION = 1, 1
"""The variant that ``mmreg-compare`` chose on the phantoms and on the prostate images."""
_MIND_ALPHA = 0.4  # as settings.MIND_SSC_STEP


@dataclass(frozen=True)
class Family:
    """Features with all that they need.

    Attributes:
        name: key of ``NAMES``.
        features: the extractor.
        cache: gives images as these features want them.
        step: the regularised step with a noise floor that suits them.
    """

    name: str
    features: FeatureExtractor
    cache: PreprocessingCache
    step: DescentStep

    @torch.no_grad()
    def of_image(self, record: ImageRecord) -> tuple[Tensor, PreparedImage]:
        """(C, i, j, k) on the image's own grid, and the image."""
        prepared = self.cache.image(record)
        return self.features(prepared.image[None], record.modality)[0], prepared

    @torch.no_grad()
    def of_pair(self, pair: PairRecord) -> tuple[Tensor, Tensor]:
        """Both (C, i, j, k) on the fixed image's grid."""
        fixed, moving = self.cache.pair(pair)
        return (
            self.features(fixed.image[None], pair.fixed.modality)[0],
            self.features(moving.image[None], pair.moving.modality)[0],
        )


def make_families(model: TrainedModel, dataset: Learn2RegDataset, cache_dir: str | Path) -> list[Family]:
    """Learned features, MIND-SSC on intensities that are not clipped, and intensity, at the checkpoint's spacing.

    Args:
        model: of the checkpoint.
        dataset: that it fits.
        cache_dir: where prepared arrays are kept.
    """
    spacing, recipes = model.hparams["spacing"], model.hparams["normalisation"]
    declared = list(dataset.label_names)
    own = PreprocessingCache(cache_dir, spacing, recipes, declared)
    unclipped = PreprocessingCache(cache_dir, spacing, dict.fromkeys(recipes, UNCLIPPED), declared)
    stride = model.features.stride
    step: DescentStep = instantiate(model.hparams["descent"]["step"])
    mind_step = DescentStep(step.regulariser, _MIND_ALPHA, step.max_step, step.forces)
    intensity = {"_target_": "mmreg_lightning.features.intensity.IntensityFeatures", "stride": stride}
    return [
        Family("learned", model.features, own, step),
        Family("mind_ssc", instantiate(mind_config(stride)), unclipped, mind_step),
        Family("intensity", instantiate(intensity), own, step),
    ]


def mind_config(stride: int) -> dict[str, Any]:
    """Configuration of the MIND-SSC of a study."""
    return {**MIND_SSC, "radius": MIND_RADIUS, "dilation": MIND_DILATION, "stride": stride}


def label_features(labels: Tensor, ids: Sequence[int], stride: int) -> Tensor:
    """What ``LabelFeatures`` gives, for labels (1, 1, I, J, K) that change: (1, len(ids), i, j, k)."""
    features: Tensor = LabelFeatures({"any": labels}, ids, stride)(labels, "any")
    return features
