"""The pairs of a data set by one command: a folder for each, and all fields as Learn2Reg takes them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.fields import case_names, field_names, read_field
from mmreg_lightning.files import ensure_output_dir
from mmreg_lightning.geometry.fields import resample_displacement
from mmreg_lightning.io.field_formats import field_name
from mmreg_lightning.io.images import read_layout
from mmreg_lightning.io.l2r_fields import write_l2r_field
from mmreg_lightning.registration.batch import register_batch
from mmreg_lightning.registration.register import register_files
from mmreg_lightning.registration.settings import Options, Settings, resolve
from mmreg_lightning.solvers.protocol import Progress

FIELDS = "fields"
"""Folder of the submission, beside those of the pairs."""


@dataclass(frozen=True)
class Submission:
    """What is to be registered.

    Attributes:
        pairs: by the names of their folders.
        fields: name of each pair's field, see ``field_names``.
        settings: for each pair of modalities.
    """

    pairs: Mapping[str, Pair[ImageFiles]]
    fields: Mapping[str, str]
    settings: Mapping[tuple[str, str], Settings]

    def settings_of(self, pair: Pair[ImageFiles]) -> Settings:
        """Those of the pair's modalities."""
        return self.settings[pair.fixed.modality, pair.moving.modality]


def plan_submission(root: str | Path, options: Options, split: str = "val") -> Submission:
    """Read a split and resolve the settings of its pairs.

    Args:
        root: data set in Learn2Reg layout; its masks are used, labels and landmarks are for scoring.
        options: a modality that they do not name is the image's own.
        split: ``train``, ``val`` or ``test``; labels may be withheld.

    Raises:
        UserError: the data set cannot be read, lists no pairs of the split, or see ``resolve``.
    """
    data = Learn2RegDataset.read(root, "dataset")
    listed = list(dict.fromkeys(data.pairs[split]))
    if not listed:
        raise UserError(f"{data.description} lists no pairs of the split {split!r}")
    names = case_names(listed)
    settings = {}
    for fixed, moving in dict.fromkeys((pair.fixed.modality, pair.moving.modality) for pair in listed):
        own = dataclasses.replace(
            options,
            fixed_modality=options.fixed_modality or fixed,
            moving_modality=options.moving_modality or moving,
        )
        # The organs of the label maps are the data set's, whatever a checkpoint was trained with.
        settings[fixed, moving] = dataclasses.replace(resolve(own), label_names=data.label_names)
    return Submission(
        {name: pair.scorable() for name, pair in zip(names, listed, strict=True)},
        {name: own[0] for name, own in zip(names, field_names(listed), strict=True)},
        settings,
    )


def register_dataset(
    plan: Submission,
    out: str | os.PathLike[str],
    *,
    shard: tuple[int, int] = (1, 1),
    field_formats: Sequence[str] = ("itk",),
    progress: Progress | None = None,
    command: str | None = None,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Register all pairs, see ``register_batch``, and write ``FIELDS``/disp_FIXED_MOVING.npz of each.

    The fields are of the fixed images' full size, float16 as Learn2Reg asks, see ``write_l2r_field``.

    Args:
        plan: of ``plan_submission``.
        out: folder of the results.
        shard, report: see ``register_batch``.
        field_formats, command: see ``register_files``.
        progress: told of each registration.

    Returns:
        Names of the pairs that failed.

    Raises:
        UserError: see ``register_batch``; or the folder of fields holds one of no pair of the split.
    """
    folder = ensure_output_dir(out)
    fields = ensure_output_dir(folder / FIELDS)
    known = {f"{name}.npz" for name in plan.fields.values()}
    foreign = sorted(path.name for path in fields.glob("disp_*") if path.name not in known)
    if foreign:
        raise UserError(f"out={folder}: {FIELDS}/{foreign[0]} is of no pair of this split: name another folder")
    names = {pair: name for name, pair in plan.pairs.items()}

    def target(pair: Pair[ImageFiles]) -> Path:
        return fields / f"{plan.fields[names[pair]]}.npz"

    def register(pair: Pair[ImageFiles], where: Path) -> list[str]:
        result = register_files(
            pair, plan.settings_of(pair), where, field_formats=field_formats, progress=progress, command=command
        )
        displacement, fixed = result.displacement, result.pair.fixed.volume.native
        if result.pair.fixed.straight:
            # The submission is of the file's own grid.
            fixed = read_layout(pair.fixed.image)
            displacement = resample_displacement(displacement, result.pair.fixed.volume.grid, fixed.canonical_grid)
        write_l2r_field(displacement, fixed, result.pair.moving.volume.native, target(pair), np.float16)
        return result.notes

    failed = register_batch(plan.pairs, folder, register, shard, plan.settings_of, report)
    for name, pair in plan.pairs.items():
        # Of a pair that was finished before, and whose field has been removed since.
        displacement = folder / name / field_name("displacement", "itk")
        if displacement.is_file() and not target(pair).is_file():
            images = pair.read(place=True)
            found = read_field(displacement, images)
            fixed, moving = (image.volume.native for image in images)
            write_l2r_field(found, fixed, moving, target(pair), np.float16)
    return failed
