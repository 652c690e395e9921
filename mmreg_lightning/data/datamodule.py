"""The LightningDataModule: a data set folder in, training patches and validation pairs out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from mmreg_lightning.config import arguments_of
from mmreg_lightning.data.augmentation import build_augmentation
from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.loaders import PairLoaders
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.data.patches import PairedPatches, Pairing
from mmreg_lightning.data.selection import check_modalities, labelled, lenient, select_organs, usable
from mmreg_lightning.data.validation_pairs import ValidationPairs
from mmreg_lightning.errors import UserError, check_spacing, positive_int
from mmreg_lightning.functional.intensity import Recipe, RecipeConfig, normalise_intensity

log = logging.getLogger(__name__)


class RegistrationDataModule(PairLoaders):
    """Paired patches for training and whole pairs for validation.

    Args:
        root: data set folder in Learn2Reg layout.
        cache_dir: where prepared arrays are kept.
        spacing: of the working grid, mm; one number or three.
        normalisation: intensity recipe of each modality, see ``normalise_intensity``.
        pairing, patch_size: see ``PairedPatches``.
        organs: names of the organs to learn from, all else is background; None takes all of the data set, and none
            that it does not declare.
        max_subjects: use only so many training subjects; None takes all.
        batch_size: pairs a training step.
        samples_per_epoch: pairs an epoch.
        num_workers: loader processes.
        augmentation: arguments of ``build_augmentation``; None turns it off.
        max_val_pairs: validate on the first so many pairs; None takes all.

    Attributes:
        dataset: what is used of the data set: training images with labels of some organ, and the pairs of these.
        left_out: how many images are not, by reason.

    Raises:
        ValueError: an intensity recipe cannot be used.
        UserError: the spacing is not positive, a count is below 1, the data set cannot be read (see
            ``Learn2RegDataset.read``), a modality has no recipe, an organ is unknown, no training image is labelled, or
            a pair is not of the data set's two modalities in their roles.
    """

    config_mappings: ClassVar[Mapping[str, Any]] = {
        "normalisation": dict[str, RecipeConfig],
        "augmentation": arguments_of(build_augmentation) | None,  # type: ignore[operator]
    }

    def __init__(
        self,
        root: str,
        cache_dir: str,
        spacing: float | Sequence[float],
        normalisation: Mapping[str, Recipe],
        pairing: Pairing = "inter",
        patch_size: int | Sequence[int] | None = None,
        organs: Sequence[str] | None = None,
        max_subjects: int | None = None,
        batch_size: int = 1,
        samples_per_epoch: int = 100,
        num_workers: int = 0,
        augmentation: Mapping[str, Any] | None = None,
        max_val_pairs: int | None = None,
    ) -> None:
        super().__init__(batch_size, samples_per_epoch, num_workers)
        check_spacing("data.spacing", spacing)
        self.max_val_pairs = None if max_val_pairs is None else positive_int("data.max_val_pairs", max_val_pairs)
        self.dataset = Learn2RegDataset.read(root)
        self.spacing = spacing
        self.normalisation = {m: checked_recipe(m, normalisation) for m in self.modalities}
        self.cache = PreprocessingCache(
            Path(cache_dir).expanduser(), spacing, self.normalisation, list(self.dataset.label_names)
        )
        self.label_names = select_organs(self.dataset, organs)
        if organs is not None:
            self.dataset = self.dataset.map_files(lenient)
        self.dataset, self.left_out = usable(self.dataset, set(self.label_names), max_subjects)
        check_modalities(self.dataset)
        self.pairing: Pairing = pairing
        self.patch_size = patch_size
        self.augmentation = None if augmentation is None else build_augmentation(**augmentation)

    @property
    def modalities(self) -> list[str]:
        """Fixed and moving modality."""
        return [self.dataset.fixed_modality, self.dataset.moving_modality]

    def facts(self) -> tuple[dict[str, Any], str]:
        """See ``data_facts`` and ``facts_in_words``."""
        from mmreg_lightning.data.summary import data_facts, facts_in_words  # it looks at this class

        facts = data_facts(self)
        return facts, facts_in_words(facts)

    def prepare_data(self) -> None:
        """Fill the cache, so that loader workers and other processes only read it; shows progress.

        Raises:
            UserError: an image or label map of the data set cannot be used; or see ``val_pairs``.
        """
        from rich.progress import track

        validation = self.val_pairs()
        shown: Counter[tuple[str, int]] = Counter()
        absent: dict[int, list[ImageFiles]] = {}
        for record in track(self.dataset.train, description="preparing training images"):
            ids = set(self.label_names).intersection(self.cache.image(record).labels.unique().tolist())
            if not ids:
                raise UserError(
                    f"{record.labels}: shows none of the organs to learn, {list(self.label_names.values())}"
                )
            shown.update((record.modality, i) for i in ids)
            for i in set(labelled(record, set(self.label_names))).intersection(self.label_names) - ids:
                absent.setdefault(i, []).append(record)
        self._warn_of_unlabelled(shown)
        self._tell_what_is_absent(absent)
        for pair in track(validation, description="preparing validation pairs"):
            self.cache.pair(pair)

    def _warn_of_unlabelled(self, shown: Mapping[tuple[str, int], int]) -> None:
        """Say which organs the label maps of one modality show and those of the other never do."""
        for i, name in self.label_names.items():
            for modality, other in (self.modalities, self.modalities[::-1]):
                images = self.labelled_images(i, modality)
                if images and not shown.get((modality, i)) and shown.get((other, i)):
                    log.warning(
                        "%s is said to be labelled in %d training images of %s, but none shows it and those of %s do: "
                        "where it is not labelled, 'labels' of each modality or 'labelled' of each image must say so, "
                        "or it is learned as background",
                        name,
                        images,
                        modality,
                        other,
                    )

    def _tell_what_is_absent(self, absent: Mapping[int, Sequence[ImageFiles]]) -> None:
        """Say which organs some label maps do not show: not there, or not labelled and so learned as background."""
        if absent and self.train_set is None:  # once, though Lightning prepares the data before each of its tasks
            counts = [
                f"{self.label_names[i]} in {len(own)} of {self._count_labelled(i)} label maps (as {own[0].labels})"
                for i, own in sorted(absent.items())
            ]
            log.info(
                "no voxel of %s: learned as not there; where it is not labelled, 'labelled' of the image must say so",
                ", ".join(counts),
            )

    def _count_labelled(self, organ: int) -> int:
        return sum(self.labelled_images(organ, modality) for modality in self.modalities)

    def labelled_images(self, organ: int, modality: str) -> int:
        """In how many training images of a modality an organ (its id) is labelled."""
        own = [files for files in self.dataset.train if files.modality == modality]
        return sum(organ in labelled(files, {organ}) for files in own)

    def setup(self, stage: str | None = None) -> None:
        """Build both sets.

        Raises:
            UserError: see ``val_pairs``, ``ValidationPairs.check`` and ``PairedPatches``.
        """
        if self.train_set is None:
            self.train_set = PairedPatches(
                self.dataset,
                self.cache,
                list(self.label_names),
                self.pairing,
                self.patch_size,
                self.samples_per_epoch,
                self.augmentation,
                seed=torch.initial_seed(),
            )
            validation = ValidationPairs(self.val_pairs(), self.cache, list(self.label_names))
            validation.check()
            self.val_set = validation

    def val_pairs(self) -> Sequence[Pair[ImageFiles]]:
        """The pairs that validate: those with labels.

        Raises:
            UserError: none is listed, or none has labels.
        """
        listed = self.dataset.pairs["val"]
        if not listed:
            raise UserError(f"{self.dataset.description}: registration_val lists no pairs to validate on")
        pairs = [pair for pair in listed if pair.labelled]
        if not pairs:
            raise UserError(
                f"{self.dataset.description}: none of the {len(listed)} pairs of registration_val has labels"
            )
        return pairs[: self.max_val_pairs]


def checked_recipe(modality: str, normalisation: Mapping[str, Recipe]) -> Recipe:
    """The intensity recipe of a modality.

    Raises:
        ValueError: it cannot be used.
        UserError: there is none.
    """
    if modality not in normalisation:
        raise UserError(f"data.normalisation has no recipe for the modality {modality!r}, only {list(normalisation)}")
    recipe = dict(normalisation[modality])
    normalise_intensity(torch.tensor([0.0, 1.0]), recipe)  # a wrong recipe is reported before any image is read
    return recipe
