"""Label maps of a folder: anyone's segmentations, without images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmreg_lightning.errors import UserError, non_negative
from mmreg_lightning.files import atomic_path, ensure_output_dir, write_json
from mmreg_lightning.io.images import read_labels
from mmreg_lightning.synthesis.label_map import TISSUES, LabelMap, check_source, compacted
from mmreg_lightning.synthesis.shape_maps import random_shapes

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".mgz")
_GROUND = 48


class FolderMaps:
    """The label maps of folders, of any labels; each label is a region.

    Label 0 says nothing in most segmentations. In a share ``filled`` of the items it is parted into random shapes, so
    that the labelled organs lie in surroundings; else it is air.

    Args:
        folder: with label maps, or several; None has none, and is never drawn.
        weight, zoom: see ``MapSource``.
        tissues: one of ``TISSUES`` for a label, as ``{1: bone}``; all others are ``any``.
        filled: share of the items in which label 0 is not air.

    Raises:
        UserError: an argument cannot be used, or a folder has no label maps.
    """

    def __init__(
        self,
        folder: str | Sequence[str] | None = None,
        weight: float = 1.0,
        zoom: Sequence[float] = (0.5, 1.5),
        tissues: Mapping[int, str] | None = None,
        filled: float = 0.5,
    ) -> None:
        folders = [] if folder is None else [folder] if isinstance(folder, str) else list(folder)
        self.files = [file for own in folders for file in label_files(own)]
        self.weight = weight if folders else 0.0
        self.zoom = check_source("maps", weight, zoom)
        self.tissues = {int(i): name for i, name in (tissues or {}).items()}
        for label, name in self.tissues.items():
            if name not in TISSUES:
                raise UserError(f"data.sources.maps.tissues.{label}={name}: must be one of {', '.join(TISSUES)}")
        self.filled = non_negative("data.sources.maps.filled", filled)
        self._loaded: dict[int, LabelMap] = {}

    def prepare(self, cache: Path) -> None:
        """Read every file once and keep it uncompressed.

        Raises:
            UserError: a file cannot be read as a label map, or shows nothing but label 0.
        """
        for file in self.files:
            kept = _kept(cache, file)
            if (kept.with_suffix(".json")).exists():
                continue
            labels = read_labels(file)
            try:
                regions, ids = compacted(labels.data[0].numpy())
            except UserError as error:
                raise UserError(f"{file}: {error}") from error
            if len(ids) < 2:
                raise UserError(f"{file}: shows no label other than 0, nothing can be made from it")
            ensure_output_dir(kept.parent)
            with atomic_path(kept) as temporary, open(temporary, "wb") as stream:
                np.save(stream, regions)
            write_json(kept.with_suffix(".json"), {"ids": ids, "spacing": labels.grid.spacing.tolist()})

    def draw(self, rng: np.random.Generator, cache: Path) -> LabelMap:
        """See ``MapSource``."""
        number = int(rng.integers(len(self.files)))
        if number not in self._loaded:
            kept = _kept(cache, self.files[number])
            facts = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
            names = [self.tissues.get(label, "any" if label else "air") for label in facts["ids"]]
            # Not read as a whole: a folder may hold more than fits into memory.
            self._loaded[number] = LabelMap(np.load(kept, mmap_mode="r"), np.array(facts["spacing"]), names)
        own = self._loaded[number]
        if rng.random() >= self.filled:
            return own
        ground = random_shapes(rng, _GROUND)
        around = LabelMap(ground, own.extent / _GROUND, ["any"] * (int(ground.max()) + 1))
        return LabelMap(own.regions, own.spacing, own.tissues, around)


def label_files(folder: str | Path) -> list[Path]:
    """The label maps of a folder, by name.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise UserError(f"data.maps={folder}: there is no such folder")
    files = sorted(file for file in place.iterdir() if file.name.lower().endswith(SUFFIXES) and file.is_file())
    if not files:
        raise UserError(f"data.maps={folder}: holds no label map ({', '.join(SUFFIXES)})")
    return files


def _kept(cache: Path, file: Path) -> Path:
    state = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:24]
    return cache / "label_maps" / f"{key}.npy"
