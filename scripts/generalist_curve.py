"""How well checkpoints of experiment=generalist register held-out real pairs, beside MIND-SSC, as a CSV table.

Three sets, none of which the training has seen: the validation patients of ``sts-mr-ct`` (CT and MR of one patient,
Dice where the MR's label is not 0), a lumbar vertebra of two subjects (TPTBox's sample files, Dice of its parts), and
the validation pairs of a phantom data set. Rows that the table has already are not computed again.

    python scripts/generalist_curve.py outputs/generalist/curve.csv outputs/generalist/steps/*.ckpt \
        --sts STS-MR-CT --vertebra TPTBox/tests --phantom outputs/phantom
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path
from typing import NamedTuple

import torch
from same_patient import mean_dice
from torch import Tensor

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.evaluation.dice import dice_per_label
from mmreg_lightning.files import write_rows
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.settings import Options, resolve


class Method(NamedTuple):
    """Features, MIND-SSC where there is no checkpoint, with the spacing of the working grid and settings."""

    checkpoint: Path | None
    spacing: float | None
    overrides: tuple[str, ...]


def sets(arguments: argparse.Namespace) -> dict[str, list[Pair[ImageFiles]]]:
    """Pairs of each set that is asked for."""
    found: dict[str, list[Pair[ImageFiles]]] = {}
    for name, root in (("sts", arguments.sts), ("phantom", arguments.phantom)):
        if root is not None:
            found[name] = list(Learn2RegDataset.read(root, name).pairs["val"])
    if arguments.vertebra is not None:
        found["vertebra"] = [vertebra(arguments.vertebra)]
    return {name: pairs[: arguments.pairs] for name, pairs in found.items()}


def vertebra(folder: Path) -> Pair[ImageFiles]:
    """The T2 MR and the CT of TPTBox's tests."""
    mri, ct = folder / "sample_mri", folder / "sample_ct"
    return Pair(
        ImageFiles(mri / "sub-mri_label-6_T2w.nii.gz", mri / "sub-mri_seg-subreg_label-6_msk.nii.gz", modality="MR"),
        ImageFiles(ct / "sub-ct_label-22_ct.nii.gz", ct / "sub-ct_seg-subreg_label-22_msk.nii.gz", modality="CT"),
    )


def score(name: str, pair: Pair[Image], moving: Tensor) -> float:
    """Mean Dice of a pair with the moving labels on the fixed image's grid."""
    assert pair.fixed.labels is not None and pair.moving.labels is not None
    fixed = pair.fixed.labels.data
    if name == "sts":
        return mean_dice(fixed, moving)
    organs = set(pair.fixed.labels.label_ids) & set(pair.moving.labels.label_ids)
    if name == "vertebra":  # 50 is a part of 49 that the MR's labels do not tell apart
        moving = torch.where(moving == 50, 49, moving)
    return statistics.mean(dice_per_label(fixed, moving, sorted(organs)).values())


def main() -> None:
    """Register and score as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--sts", type=Path)
    parser.add_argument("--vertebra", type=Path)
    parser.add_argument("--phantom", type=Path)
    parser.add_argument("--pairs", type=int, help="the first so many of each set")
    parser.add_argument("--spacing", type=float, help="of the working grid, mm; default: the features' own")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the solver")
    arguments = parser.parse_args()
    rows: list[dict[str, str]] = []
    if arguments.table.exists():
        with open(arguments.table, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    # MIND-SSC with its own settings, and at the same spacing: a finer grid alone helps it, too.
    methods: list[Method] = [Method(None, None, ())]
    if arguments.spacing is not None:
        methods.append(Method(None, arguments.spacing, ()))
    methods += [Method(path, arguments.spacing, tuple(arguments.set)) for path in arguments.checkpoints]
    for method in methods:
        features = "mind_ssc" if method.checkpoint is None else method.checkpoint.stem
        own = " ".join([*([] if method.spacing is None else [f"spacing={method.spacing}"]), *method.overrides])
        done = {row["set"] for row in rows if (row["features"], row["settings"]) == (features, own)}
        for name, pairs in sets(arguments).items():
            if name in done:
                continue
            values = [registered(name, files.read(), method) for files in pairs]
            before, after, folds = zip(*values, strict=True)
            row = {
                "features": features,
                "settings": own,
                "set": name,
                "pairs": str(len(values)),
                "dice_before": f"{statistics.mean(before):.4f}",
                "dice_after": f"{statistics.mean(after):.4f}",
                "worse": str(sum(b > a for b, a in zip(before, after, strict=True))),
                "folds_percent": f"{statistics.mean(folds):.3f}",
                "each": " ".join(f"{value:.3f}" for value in after),
            }
            rows.append(row)
            write_rows(arguments.table, rows)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def registered(name: str, pair: Pair[Image], method: Method) -> tuple[float, float, float]:
    """Dice before and after a registration, and its folds in percent."""
    options = Options(
        checkpoint=method.checkpoint,
        fixed_modality=pair.fixed.modality,
        moving_modality=pair.moving.modality,
        affine="moments" if name == "vertebra" else "auto",
        spacing=method.spacing,
        overrides=method.overrides,
    )
    result = register_pair(pair, resolve(options))
    assert pair.moving.labels is not None and result.moved.labels is not None
    before = score(name, pair, resample_volume(pair.moving.labels, pair.fixed.volume.grid, "nearest").data)
    return before, score(name, pair, result.moved.labels.data), result.scores.folds_percent


if __name__ == "__main__":
    main()
