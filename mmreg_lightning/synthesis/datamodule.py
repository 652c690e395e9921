"""The LightningDataModule of pairs that are made from label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.data.datamodule import checked_recipe
from mmreg_lightning.data.loaders import PairLoaders
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError, check_spacing, positive_int
from mmreg_lightning.files import ensure_output_dir, folder_lock
from mmreg_lightning.functional.intensity import Recipe, RecipeConfig
from mmreg_lightning.synthesis.folder_maps import FolderMaps
from mmreg_lightning.synthesis.geometry import Geometry
from mmreg_lightning.synthesis.label_map import MapSource
from mmreg_lightning.synthesis.pairs import SyntheticPairs
from mmreg_lightning.synthesis.view import Views


class SyntheticDataModule(PairLoaders):
    """Pairs of two random views of one label map, displaced against each other; no image is read.

    Args:
        sources: of label maps, by name.
        views: renders them.
        geometry: places them.
        cache_dir: where prepared label maps are kept.
        spacing: working spacing, mm: what a voxel of a patch is at zoom 1.
        modalities: fixed and moving, of the registrations that the features are for; both are rendered alike.
        normalisation: intensity recipe of each modality in these registrations.
        patch_size: voxels of a patch along each axis.
        regions: at most so many regions of a pair are labelled.
        maps: folder of own label maps, or several; ``sources`` refers to it.
        batch_size, samples_per_epoch, num_workers: see ``PairLoaders``.
        val_pairs: number of pairs that validate, which no training shows.

    Raises:
        UserError: a value is out of range, or a modality has no recipe.
    """

    config_mappings: ClassVar[Mapping[str, Any]] = {"normalisation": dict[str, RecipeConfig]}

    def __init__(
        self,
        sources: Mapping[str, MapSource | None],
        views: Views,
        geometry: Geometry,
        cache_dir: str,
        spacing: float,
        modalities: Sequence[str],
        normalisation: Mapping[str, Recipe],
        patch_size: int = 40,
        regions: int = 12,
        maps: str | Sequence[str] | None = None,
        batch_size: int = 1,
        samples_per_epoch: int = 1000,
        num_workers: int = 0,
        val_pairs: int = 8,
    ) -> None:
        super().__init__(batch_size, samples_per_epoch, num_workers)
        check_spacing("data.spacing", spacing)
        if not isinstance(spacing, (int, float)):
            raise UserError(f"data.spacing={spacing}: must be one number of mm, patches of label maps are cubes")
        if len(modalities) != 2:
            raise UserError(f"data.modalities={list(modalities)}: must be two, of the fixed and of the moving image")
        self.sources = {name: source for name, source in sources.items() if source is not None and source.weight > 0}
        self.maps = maps
        self.views = views
        self.geometry = geometry
        self.cache = Path(cache_dir).expanduser()
        self.spacing = float(spacing)
        self._modalities = list(modalities)
        self.normalisation = {m: checked_recipe(m, normalisation) for m in self.modalities}
        self.patch_size = positive_int("data.patch_size", patch_size)
        self.regions = positive_int("data.regions", regions)
        self.label_names = {i: f"region {i}" for i in range(1, self.regions + 1)}
        self.val_pairs = positive_int("data.val_pairs", val_pairs)

    @property
    def modalities(self) -> list[str]:
        """Fixed and moving modality."""
        return self._modalities

    def facts(self) -> tuple[dict[str, Any], str]:
        """See ``PairLoaders``."""
        total = sum(source.weight for source in self.sources.values())
        shares = {name: source.weight / total for name, source in self.sources.items()}
        listed = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
        files = [file for source in self.sources.values() if isinstance(source, FolderMaps) for file in source.files]
        notes = header_notes(ImageFiles(file) for file in files)
        lines = [
            f"pairs made from label maps: {listed}",
            f"  no image is read; {self.val_pairs} more such pairs validate, of other geometry and contrast",
            *([f"  {len(files)} label maps of {self.maps}"] if files else []),
            *(f"  {line}" for line in notes_in_words(notes)),
        ]
        facts = {"name": "synthetic", "sources": shares, "val_pairs": self.val_pairs}
        return {**facts, "label_maps": len(files), "header_notes": notes}, "\n".join(lines)

    def prepare_data(self) -> None:
        """Let the sources prepare their maps; shows progress.

        Raises:
            UserError: a label map cannot be used.
        """
        from rich.progress import track

        with folder_lock(ensure_output_dir(self.cache / "synthesis"), wait=True):
            for source in track(self.sources.values(), description="preparing label maps"):
                source.prepare(self.cache / "synthesis")

    def setup(self, stage: str | None = None) -> None:
        """Build both sets.

        Raises:
            UserError: see ``SyntheticPairs``.
        """
        if self.train_set is None:
            self.train_set = self._pairs(self.samples_per_epoch, whole=False)
            self.val_set = self._pairs(self.val_pairs, whole=True)

    def _pairs(self, length: int, whole: bool) -> SyntheticPairs:
        cache = self.cache / "synthesis"
        return SyntheticPairs(
            self.sources,
            self.views,
            self.geometry,
            cache,
            self.patch_size,
            self.spacing,
            self.regions,
            length,
            torch.initial_seed(),
            whole,
        )
