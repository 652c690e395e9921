"""Preprocessing that happens once: images on their working grid, kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path, ensure_output_dir
from mmreg_lightning.functional.intensity import Recipe
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume, check_same_grid
from mmreg_lightning.geometry.working import field_of_view, prepare_image, working_grid
from mmreg_lightning.io.images import read_image, read_mask

FORMAT = 3  # raise it when the preprocessing changes, so that old files are not taken for new ones


@dataclass(frozen=True)
class PreparedImage:
    """An image as the networks see it.

    Attributes:
        image: (1, I, J, K) float32, see ``normalise_intensity``.
        labels: (1, I, J, K) integers, see ``ImageFiles.label_map``; all background where the data set has none.
        inside: (1, I, J, K) float32, 1 in the image's field of view, 0 where the working grid reaches beyond it.
        mask: (1, I, J, K) float32, 1 where the image's mask is set, 0 outside; None where it has none.
    """

    image: Tensor
    labels: Tensor
    inside: Tensor
    mask: Tensor | None = None


class PreprocessingCache:
    """Reads, checks, resamples and normalises an image once; later calls map the result from disk.

    A file's name holds a checksum of everything that the result depends on: the path, size and time of
    change of image, labels and mask, what the label ids mean, the grid and the recipe.

    Args:
        folder: where the prepared arrays are kept; created if need be.
        spacing: of the working grid, mm.
        recipes: intensity recipe of each modality.
        label_ids: ids that the data set declares, background left out.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        spacing: float | Sequence[float],
        recipes: Mapping[str, Recipe],
        label_ids: Sequence[int],
    ) -> None:
        self.folder = ensure_output_dir(folder)
        self.spacing = spacing
        self.recipes = recipes
        self.label_ids = set(label_ids)

    def image(self, record: ImageFiles) -> PreparedImage:
        """The image on its own working grid.

        Raises:
            UserError: the files cannot be used; see ``read_image``, ``ImageFiles.label_map``, ``read_mask``,
                ``check_same_grid``; or a label id is not declared.
        """

        def prepare() -> PreparedImage:
            volume = read_image(record.image)
            grid = working_grid(volume.grid, self.spacing)
            return self._prepare(record, volume, grid)

        return self._cached([record], "image", prepare)

    def pair(self, pair: Pair[ImageFiles]) -> Pair[PreparedImage]:
        """Fixed and moving image, both on the fixed image's working grid.

        Raises:
            UserError: as for ``image``; or the two fields of view do not overlap.
        """

        def moving() -> PreparedImage:
            volume = read_image(pair.moving.image)
            grid = working_grid(read_image(pair.fixed.image).grid, self.spacing)
            # Counted on a lattice of each, so that a small image within a large one is not missed.
            if grid.overlap_fraction(volume.grid) == 0 and volume.grid.overlap_fraction(grid) == 0:
                raise UserError(f"{pair.fixed.image} and {pair.moving.image}: their fields of view do not overlap")
            return self._prepare(pair.moving, volume, grid)

        return Pair(self.image(pair.fixed), self._cached([pair.fixed, pair.moving], "moving", moving))

    def _prepare(self, record: ImageFiles, volume: Volume, grid: Grid) -> PreparedImage:
        image = prepare_image(volume, grid, self.recipes[record.modality])
        inside = field_of_view(volume, grid)
        mask = None
        if record.mask is not None:
            area = read_mask(record.mask)
            check_same_grid(area, volume)
            mask = resample_volume(area, grid, fill=0.0).data
        labels = record.label_map()
        if labels is None:
            return PreparedImage(image, torch.zeros(image.shape, dtype=torch.int64), inside, mask)
        check_same_grid(labels, volume)
        unknown = sorted(set(labels.label_ids) - self.label_ids)
        if unknown:
            raise UserError(f"{record.labels}: label ids {unknown} are not declared in the data set's description")
        return PreparedImage(image, resample_volume(labels, grid, "nearest").data, inside, mask)

    def _cached(self, sources: list[ImageFiles], role: str, prepare: Callable[[], PreparedImage]) -> PreparedImage:
        key = self._key(sources, role)
        parts = ["image", "labels", "inside"] + ["mask"] * (sources[-1].mask is not None)
        paths = [self.folder / f"{key}_{part}.npy" for part in parts]
        if not all(path.is_file() for path in paths):
            prepared = prepare()
            for part, path in zip(parts, paths, strict=True):
                array = getattr(prepared, part).numpy()
                content = io.BytesIO()  # numpy does not say why a file cannot be written
                # Half the size; ids beyond 32 bits are rare, but must not wrap.
                small = part == "labels" and array.max(initial=0) <= np.iinfo(np.int32).max
                np.save(content, array.astype(np.int32) if small else array)
                with atomic_path(path) as temporary:
                    temporary.write_bytes(content.getbuffer())
        # Copy on write: the arrays stay on disk until a patch of them is read, and nothing can change the file.
        return PreparedImage(*(torch.from_numpy(np.load(path, mmap_mode="c")) for path in paths))

    def _key(self, sources: list[ImageFiles], role: str) -> str:
        files = [p for s in sources for p in (s.image, s.labels, s.mask) if p is not None]
        stats = [(str(p.resolve()), os.stat(p).st_size, os.stat(p).st_mtime_ns) for p in files]
        spacing = np.broadcast_to(np.asarray(self.spacing, dtype=float), (3,)).tolist()
        recipe = dict(self.recipes[sources[-1].modality])
        own = sources[-1].labelling
        meaning = None if own is None else [sorted(own.ids), own.strict]
        text = json.dumps([FORMAT, role, stats, spacing, recipe, sorted(self.label_ids), meaning], sort_keys=True)
        return f"{sources[-1].image.name.split('.')[0]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
