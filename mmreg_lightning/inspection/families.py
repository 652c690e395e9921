"""The feature families of a study: the same images, grid and stride for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.cache import PreparedImage, PreprocessingCache
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.features.labels import LabelFeatures
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.working import working_grid
from mmreg_lightning.io.images import read_image
from mmreg_lightning.registration.families import FeatureFamily, family_of_config


@dataclass(frozen=True, eq=False)
class StudiedFamily:
    """A feature family with what its measures need.

    Attributes:
        name: ``learned`` (or that of the weights), ``mind_ssc``, ``intensity`` or ``labels``.
        config: of the extractor, plain types.
        features: the extractor.
        cache: gives images with the intensities that these features expect.
        step: the regularised step, with the noise floor of these features.
    """

    name: str
    config: Mapping[str, Any]
    features: FeatureExtractor
    cache: PreprocessingCache
    step: DescentStep

    def __call__(self, prepared: PreparedImage, modality: str, displacement: Tensor | None = None) -> Tensor:
        """Features (1, C, i, j, k) of an image, which is warped by (1, 3, I, J, K) working voxels before."""
        if isinstance(self.features, LabelFeatures):
            return self.features(warped_labels(prepared, displacement), modality)
        image = prepared.image[None]
        return self.features(image if displacement is None else warp(image, displacement), modality)

    def grid(self, files: ImageFiles) -> Grid:
        """Working grid of an image."""
        return working_grid(read_image(files.image).grid, self.cache.spacing)


def warped_labels(prepared: PreparedImage, displacement: Tensor | None) -> Tensor:
    """Label map (1, 1, I, J, K), int64, warped by (1, 3, I, J, K) voxels, nearest label."""
    labels = prepared.labels[None]
    return (labels if displacement is None else warp(labels.float(), displacement, mode="nearest")).long()


def label_family(like: StudiedFamily, ids: Sequence[int]) -> StudiedFamily:
    """The true labels of organs in the place of features, with the stride and step of another family.

    They show what the step itself can reach.
    """
    return StudiedFamily("labels", {}, LabelFeatures(ids, like.features.stride), like.cache, like.step)


def make_families(learned: FeatureFamily, dataset: Learn2RegDataset, cache_dir: str | Path) -> list[StudiedFamily]:
    """Learned features, MIND-SSC and intensity, at the spacing and stride of the learned ones.

    Args:
        learned: of the checkpoint or the shipped weights, with a spacing.
        dataset: that it fits.
        cache_dir: where prepared arrays are kept.

    Raises:
        UserError: the folder of the cache cannot be written.
    """
    assert learned.model is not None and learned.spacing is not None, "see Study"
    stride, modalities = learned.features.stride, (dataset.fixed_modality, dataset.moving_modality)
    step: DescentStep = instantiate(learned.model.hparams["descent"]["step"])
    families = [
        learned,
        # mmreg-compare chose this patch on the phantoms and on the prostate images.
        family_of_config("mind_ssc", stride=stride, radius=1, dilation=1),
        # Learned features and intensity see the same images.
        family_of_config("intensity", stride=stride, normalisation=None),
    ]
    studied = []
    for family in families:
        recipes = {m: (learned if family.name == "intensity" else family).recipe(m) for m in modalities}
        cache = PreprocessingCache(cache_dir, learned.spacing, recipes, list(dataset.label_names))
        own = DescentStep(step.regulariser, family.step.get("alpha", step.alpha), step.max_step, step.forces)
        studied.append(StudiedFamily(family.name, family.config, family.features, cache, own))
    return studied
