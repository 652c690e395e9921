"""The LightningDataModule: a data set folder in, training patches and validation pairs out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmreg_lightning.config import arguments_of
from mmreg_lightning.data.augmentation import build_augmentation
from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.epoch_sampler import EpochSampler
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.data.patches import PairedPatches, Pairing
from mmreg_lightning.errors import UserError, non_negative_int, positive_int
from mmreg_lightning.functional.intensity import Recipe, RecipeConfig, normalise_intensity


class ValidationPairs(Dataset[dict[str, Tensor | str]]):
    """Whole pairs on the fixed image's working grid, one an item, in the order of the data set's list."""

    def __init__(self, pairs: Sequence[Pair[ImageFiles]], cache: PreprocessingCache, label_ids: Sequence[int]) -> None:
        self.pairs = pairs
        self.cache = cache
        self.label_ids = set(label_ids)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """As ``PairedPatches``, with the pair's ``name`` and ``inside`` (1, I, J, K), where both images are seen."""
        pair = self.pairs[index]
        fixed, moving = self.cache.pair(pair)
        return {
            "name": pair.name,
            "fixed": fixed.image,
            "fixed_labels": fixed.labels.long(),
            "moving": moving.image,
            "moving_labels": moving.labels.long(),
            "inside": fixed.inside * moving.inside,
        }

    def check(self) -> None:
        """Look at every pair before a training relies on it.

        Raises:
            UserError: the label maps of a pair share none of the organs.
        """
        for pair in self.pairs:
            for record in (pair.fixed, pair.moving):
                if record.labels is None:
                    raise UserError(f"{record.image}: a validation image without labels")
            shown = [set(image.labels.unique().tolist()) for image in self.cache.pair(pair)]
            if not shown[0] & shown[1] & self.label_ids:
                raise UserError(
                    f"{pair.fixed.image} and {pair.moving.image}: their labels share none of the organs to learn"
                )


class RegistrationDataModule(pl.LightningDataModule):
    """Paired patches for training and whole pairs for validation.

    Args:
        root: data set folder in Learn2Reg layout.
        cache_dir: where prepared arrays are kept.
        spacing: of the working grid, mm; one number or three.
        normalisation: intensity recipe of each modality, see ``normalise_intensity``.
        pairing, patch_size: see ``PairedPatches``.
        organs: names of the organs to learn from; None takes all of the data set.
        max_subjects: use only so many training subjects; None takes all.
        batch_size: pairs a training step.
        samples_per_epoch: pairs an epoch.
        num_workers: loader processes.
        augmentation: arguments of ``build_augmentation``; None turns it off.
        max_val_pairs: validate on the first so many pairs; None takes all.

    Raises:
        ValueError: an intensity recipe cannot be used.
        UserError: the spacing is not positive, a count is below 1, the data set cannot be read (see
            ``Learn2RegDataset.read``), a modality has no recipe, an organ is unknown, or a pair is not of the data
            set's two modalities in their roles.
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
        super().__init__()
        _check_spacing(spacing)
        self.batch_size = positive_int("data.batch_size", batch_size)
        self.samples_per_epoch = positive_int("data.samples_per_epoch", samples_per_epoch)
        self.num_workers = non_negative_int("data.num_workers", num_workers)
        self.max_val_pairs = None if max_val_pairs is None else positive_int("data.max_val_pairs", max_val_pairs)
        self.dataset = Learn2RegDataset.read(root)
        self.spacing = spacing
        self.normalisation = {m: _recipe(m, normalisation) for m in self.modalities}
        self.cache = PreprocessingCache(
            Path(cache_dir).expanduser(), spacing, self.normalisation, list(self.dataset.label_names)
        )
        self.label_names = _select_organs(self.dataset, organs)
        if max_subjects is not None:
            self.dataset = _first_subjects(self.dataset, max_subjects)
        _check_modalities(self.dataset)
        self.pairing: Pairing = pairing
        self.patch_size = patch_size
        self.augmentation = None if augmentation is None else build_augmentation(**augmentation)
        self.train_set: PairedPatches | None = None
        self.val_set: ValidationPairs | None = None

    @property
    def modalities(self) -> list[str]:
        """Fixed and moving modality."""
        return [self.dataset.fixed_modality, self.dataset.moving_modality]

    def prepare_data(self) -> None:
        """Fill the cache, so that loader workers and other processes only read it; shows progress.

        Raises:
            UserError: an image or label map of the data set cannot be used, or no validation pair is listed.
        """
        from rich.progress import track

        validation = self._val_pairs()
        missing = [r.image for r in self.dataset.train if r.labels is None]
        if missing:
            raise UserError(f"{missing[0]}: a training image without labels")
        for record in track(self.dataset.train, description="preparing training images"):
            labels = self.cache.image(record).labels
            if not torch.isin(labels, torch.tensor(list(self.label_names), dtype=labels.dtype)).any():
                raise UserError(
                    f"{record.labels}: shows none of the organs to learn, {list(self.label_names.values())}"
                )
        for pair in track(validation, description="preparing validation pairs"):
            self.cache.pair(pair)

    def setup(self, stage: str | None = None) -> None:
        """Build both sets.

        Raises:
            UserError: no validation pair is listed; or see ``PairedPatches``.
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
            self.val_set = ValidationPairs(self._val_pairs(), self.cache, list(self.label_names))
            self.val_set.check()

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of paired patches."""
        rank, world = self._place()
        sampler = EpochSampler(self.samples_per_epoch, rank, world)
        return self._loader(self.train_set, self.batch_size, self.num_workers, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """One whole pair a batch; each process has its share of the pairs, where there is one for each."""
        assert self.val_set is not None, "setup() comes first"
        rank, world = self._place()
        if len(self.val_set) < world:
            rank, world = 0, 1
        return self._loader(self.val_set, 1, 0, EpochSampler(len(self.val_set), rank, world, endless=False))

    def _place(self) -> tuple[int, int]:
        """Rank of this process and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _val_pairs(self) -> Sequence[Pair[ImageFiles]]:
        pairs = self.dataset.pairs["val"][: self.max_val_pairs]
        if not pairs:
            raise UserError(f"{self.dataset.description}: registration_val lists no pairs to validate on")
        return pairs

    @staticmethod
    def _loader(data: Dataset[Any] | None, batch_size: int, workers: int, sampler: EpochSampler) -> DataLoader[Any]:
        assert data is not None, "setup() comes first"
        return DataLoader(
            data, batch_size=batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )


def _check_spacing(spacing: Any) -> None:
    sides = list(spacing) if isinstance(spacing, Sequence) and not isinstance(spacing, str) else [spacing] * 3
    if len(sides) != 3 or not all(isinstance(side, int | float) and 0 < side < math.inf for side in sides):
        raise UserError(f"data.spacing={spacing}: must be a positive number of millimetres, or three")


def _recipe(modality: str, normalisation: Mapping[str, Recipe]) -> Recipe:
    if modality not in normalisation:
        raise UserError(f"data.normalisation has no recipe for the modality {modality!r}, only {list(normalisation)}")
    recipe = dict(normalisation[modality])
    normalise_intensity(torch.tensor([0.0, 1.0]), recipe)  # a wrong recipe is reported before any image is read
    return recipe


def _select_organs(dataset: Learn2RegDataset, organs: Sequence[str] | None) -> dict[int, str]:
    if organs is None:
        return dict(dataset.label_names)
    unknown = [name for name in organs if name not in dataset.label_names.values()]
    if unknown:
        raise UserError(f"data.organs: {unknown} not among {list(dataset.label_names.values())}")
    return {i: name for i, name in dataset.label_names.items() if name in organs}


def _first_subjects(dataset: Learn2RegDataset, count: int) -> Learn2RegDataset:
    if count < 1:
        raise UserError(f"data.max_subjects={count}: must be 1 or more, or null")
    kept = set(sorted({r.subject for r in dataset.train})[:count])
    return dataclasses.replace(
        dataset,
        train=[r for r in dataset.train if r.subject in kept],
        pairs={
            **dataset.pairs,
            "train": [p for p in dataset.pairs["train"] if {p.fixed.subject, p.moving.subject} <= kept],
        },
    )


def _check_modalities(dataset: Learn2RegDataset) -> None:
    """Each modality has a stem of its own, so an image in the wrong role would go through the wrong one."""
    expected = (dataset.fixed_modality, dataset.moving_modality)
    for pair in [*dataset.pairs["train"], *dataset.pairs["val"]]:
        if (pair.fixed.modality, pair.moving.modality) != expected:
            raise UserError(
                f"{dataset.description}: the pair of {pair.fixed.image.name} and {pair.moving.image.name} is not "
                f"{expected[0]} and {expected[1]}, as registration_direction says"
            )
