"""``mmreg-evaluate``: scores a folder of displacement fields, ours or anybody's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point, progress_bar

SPLITS = ("val", "test", "train")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-evaluate",
        description="Score displacement fields in Learn2Reg form against the labels and landmarks of a data set. "
        "Writes metrics.csv (a row a case) and summary.json.",
    )
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="data set in Learn2Reg layout")
    parser.add_argument(
        "--fields",
        type=Path,
        required=True,
        metavar="DIR",
        help="disp_FIXED_MOVING.npz or .nii.gz, subjects as in the image names (disp_0012_0034), or with their "
        "modality numbers (disp_0012_0000_0034_0001); voxels of the fixed image, full or half size; or ITK fields "
        "disp_FIXED_MOVING.itk.nii.gz; OUT/fields of mmreg-register --dataset",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--split", choices=SPLITS, default="val", help="pairs to score (default: val)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation in the folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate as ``argv`` says; print the means and where the files lie."""
    arguments = build_parser().parse_args(argv)

    from mmreg_lightning.data.assumptions import notes_in_words
    from mmreg_lightning.evaluation.fields import evaluate_fields

    with progress_bar("scoring fields") as update:
        summary = evaluate_fields(
            arguments.dataset,
            arguments.fields,
            arguments.out,
            split=arguments.split,
            overwrite=arguments.overwrite,
            progress=lambda done, total: update("scoring fields", done, total),
        )
    for name in ("dice_before", "dice", "hd95_mm", "assd_mm", "tre_mm", "sdlogj", "folds_percent"):
        if name in summary["measures"]:
            one = summary["measures"][name]
            print(f"{name:14} {one['mean']:.4f} +- {one['sd']:.4f}  ({one['cases']} cases)")
    if summary["missing"]:
        print(f"without a field, not in the means: {', '.join(summary['missing'])}")
    if summary["unlabelled"]:
        print(f"without labels, scored by what they have: {', '.join(summary['unlabelled'])}")
    for line in notes_in_words(summary["notes"]):
        print(line)
    print(f"Results: {arguments.out / 'metrics.csv'}, {arguments.out / 'summary.json'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
