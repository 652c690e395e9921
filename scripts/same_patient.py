"""Registers every training and validation pair of a data set by the defaults, and scores it where labels are known.

Writes Dice before and after for each pair, means, and how many pairs are worse than before, as JSON. Voxels where the
fixed label map is 0 are left out: in ``sts-mr-ct`` that is skin, bone and the border of the MR, not background.

    python scripts/same_patient.py STS-MR-CT docs/results/same_patient.json
    python scripts/same_patient.py STS-MR-CT out.json --affine none --no-body-mask
    python scripts/same_patient.py STS-MR-CT out.json --splits val --features pretrained --set solver.step.alpha=0.2

``--move-header MM DEGREES`` places each moving image elsewhere first, by a turn about its centre and a shift, both in a
random direction, the same ones in every run.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmreg_lightning.cli._app import progress_bar
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.files import write_json
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.settings import Options, resolve


def mean_dice(fixed: Tensor, moving: Tensor) -> float:
    """Mean Dice of the labels of the fixed map, where it is not 0."""
    known = fixed != 0
    values = []
    for label in fixed[known].unique().tolist():
        a, b = fixed == label, (moving == label) & known
        values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return statistics.mean(values)


def elsewhere(image: Image, millimetres: float, degrees: float, generator: np.random.Generator) -> Image:
    """The image with a header that places it elsewhere; its labels and mask move with it, landmarks are left out."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in generator.normal(size=(2, 3)))
    center = image.volume.grid.center
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(axis * degrees, degrees=True).as_matrix()
    matrix[:3, 3] = center - matrix[:3, :3] @ center + millimetres * direction

    def moved(volume: Volume) -> Volume:
        return Volume(
            volume.data, Grid(volume.grid.shape, matrix @ volume.grid.affine), None, volume.path, volume.stored
        )

    parts = {name: getattr(image, name) for name in ("volume", "labels", "mask")}
    parts = {name: None if part is None else moved(part) for name, part in parts.items()}
    return dataclasses.replace(image, landmarks=None, **parts)


def main() -> None:
    """Register and score as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--affine", default="auto")
    parser.add_argument("--no-body-mask", dest="body_mask", action="store_false")
    parser.add_argument("--move-header", type=float, nargs=2, metavar=("MM", "DEGREES"), default=(0.0, 0.0))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--features")
    parser.add_argument("--set", nargs="+", action="extend", default=[], dest="overrides")
    parser.add_argument("--splits", nargs="+", choices=("train", "val", "test"), default=["train", "val"])
    arguments = parser.parse_args()
    dataset = Learn2RegDataset.read(arguments.data, "data")
    pairs = [pair for split in arguments.splits for pair in dataset.pairs[split]]
    rows = []
    with progress_bar("registering") as update:
        for number, files in enumerate(pairs):
            options = Options(
                checkpoint=arguments.checkpoint,
                features=arguments.features,
                fixed_modality=files.fixed.modality,
                moving_modality=files.moving.modality,
                affine=arguments.affine,
                body_mask=arguments.body_mask,
                overrides=arguments.overrides,
            )
            pair = files.read()
            if any(arguments.move_header):
                generator = np.random.default_rng(number)
                fixed = dataclasses.replace(pair.fixed, landmarks=None)
                pair = Pair(fixed, elsewhere(pair.moving, *arguments.move_header, generator))
            result = register_pair(pair, resolve(options))
            assert pair.fixed.labels is not None and pair.moving.labels is not None and result.moved.labels is not None
            before = resample_volume(pair.moving.labels, pair.fixed.volume.grid, "nearest").data
            rows.append(
                {
                    "subject": files.fixed.subject,
                    "dice_before": mean_dice(pair.fixed.labels.data, before),
                    "dice_after": mean_dice(pair.fixed.labels.data, result.moved.labels.data),
                    "folds_percent": result.scores.folds_percent,
                    "notes": result.registration.notes,
                }
            )
            update("registering", number + 1, len(pairs))
    summary = {key: statistics.mean(row[key] for row in rows) for key in ("dice_before", "dice_after", "folds_percent")}
    summary["worse"] = sum(row["dice_after"] < row["dice_before"] for row in rows)
    summary["headers_not_trusted"] = sum(
        any("headers are not trusted" in note for note in row["notes"]) for row in rows
    )
    for row in rows:
        row["notes"] = [note.replace(f"{arguments.data}/", "") for note in row["notes"]]
    names = ("affine", "body_mask", "move_header", "checkpoint", "features", "overrides", "splits")
    options_used = {name: value for name in names if (value := getattr(arguments, name)) not in (None, [])}
    if arguments.checkpoint is not None:
        options_used["checkpoint"] = arguments.checkpoint.name
    write_json(arguments.out, {"options": options_used, **summary, "cases": rows})
    print(f"Dice {summary['dice_before']:.3f} -> {summary['dice_after']:.3f}, worse {summary['worse']} of {len(rows)}")


if __name__ == "__main__":
    main()
