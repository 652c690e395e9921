"""``mmreg-register``: register two images, a table of pairs or a data set, with trained features or MIND-SSC."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmreg_lightning.cli._app import entry_point, progress_bar
from mmreg_lightning.cli._features import add_features
from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from mmreg_lightning.data.pair import ImageFiles, Pair
    from mmreg_lightning.registration.settings import Options

PARTS = ("labels", "landmarks", "mask")
SPLITS = ("train", "val", "test")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-register",
        description="Register two images (NIfTI, NRRD, MetaImage, DICOM: a folder with a series or a multi-frame "
        "file). Writes the warped image, the displacement field and its inverse, the affine, a Jacobian map, metrics "
        "and reports.",
    )
    parser.add_argument("--fixed", type=Path, metavar="F", help="image to register to")
    parser.add_argument("--moving", type=Path, metavar="M", help="image to warp onto it")
    parser.add_argument(
        "--fixed-series", metavar="UID", help="of a folder with several DICOM series, which an error message lists"
    )
    parser.add_argument("--moving-series", metavar="UID", help="likewise")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in the folder")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="C",
        help="of mmreg-train; its features, recipes, spacing and solver are used",
    )
    add_features(parser)
    parser.add_argument(
        "--confidence",
        type=Path,
        metavar="JSON",
        help="of mmreg-calibrate: writes confidence.nii.gz and warns where the registration is likely wrong",
    )
    parser.add_argument(
        "--fixed-modality",
        metavar="NAME",
        help="sets the intensity recipe (and the stem of the network): CT is a window of Hounsfield units; default: "
        "the checkpoint's, without one percentiles",
    )
    parser.add_argument("--moving-modality", metavar="NAME", help="likewise")
    parser.add_argument("--fixed-labels", type=Path, metavar="L", help="label map, for Dice and the report")
    parser.add_argument("--moving-labels", type=Path, metavar="L", help="is warped, too; may come alone")
    parser.add_argument("--fixed-mask", type=Path, metavar="K", help="what lies outside (0) is not looked at")
    parser.add_argument("--moving-mask", type=Path, metavar="K", help="likewise, in the moving image")
    parser.add_argument(
        "--fixed-landmarks",
        type=Path,
        metavar="CSV",
        help='rows "i,j,k" in voxels of the image file, for the target registration error',
    )
    parser.add_argument("--moving-landmarks", type=Path, metavar="CSV", help="the same places, row by row")
    parser.add_argument(
        "--affine",
        default="auto",
        metavar="KIND|FILE",
        help="before the deformation: auto (default) trusts the headers where images overlap and MIND-SSC agrees, "
        "else it aligns the centres of mass and searches a rigid transform, and says so; none trusts the "
        "headers, moments aligns the centres of mass, rigid, similarity and affine search by the features from both; "
        "or a transform file of ITK, ANTs, FSL, FreeSurfer (.lta) or MINC (.xfm), or a bare 4x4 matrix, named as in "
        "mmreg-apply --transform",
    )
    parser.add_argument(
        "--no-body-mask",
        dest="body_mask",
        action="store_false",
        help="look at the table of a CT and at padding, too; by default an image without a mask gets one of the body",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        metavar="MM",
        help="of the working grid; default: the checkpoint's, without one the fixed image's mean spacing, but at most "
        "128 voxels a side",
    )
    parser.add_argument(
        "--solver",
        metavar="NAME",
        help="demons, adam or convex_adam, with the descent step of the checkpoint; default: the checkpoint's own "
        "solver, without one demons",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="settings of the solver, as solver.iterations=40 solver.step.alpha=0.05",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--field-format",
        nargs="+",
        choices=("itk", "l2r", "fsl", "torch", "lta"),
        default=["itk"],
        dest="field_formats",
        help="of the displacement and its inverse besides itk (ITK, ANTs, Slicer): Learn2Reg, FSL (also the "
        "affine), PyTorch; lta writes the affine for FreeSurfer",
    )
    parser.add_argument(
        "--fill",
        type=float,
        metavar="VALUE",
        help="of the warped image outside of the moving one's field of view (default: the moving image's smallest)",
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="register many pairs, each into a folder of its own under --out; columns fixed, moving and as wanted "
        "name, fixed_labels, moving_labels, fixed_mask, moving_mask, fixed_landmarks, moving_landmarks, fixed_series, "
        "moving_series; finished pairs are skipped",
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="register the pairs of a data set in Learn2Reg layout likewise; OUT/fields gets disp_FIXED_MOVING.npz of "
        "each (float16), as mmreg-evaluate and Learn2Reg take them; modalities and masks are the data set's",
    )
    parser.add_argument("--split", choices=SPLITS, help="of --dataset; labels may be withheld (default: val)")
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="K/N",
        help="of --pairs or --dataset: do the K-th of N parts only, for arrays of jobs",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Register as ``argv`` says; print what came out and where it lies."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-register", *(sys.argv[1:] if argv is None else argv)])
    if arguments.split is not None and arguments.dataset is None:
        raise UserError(f"split={arguments.split}: needs --dataset")
    if arguments.dataset is not None:
        _register_dataset(arguments, command)
    elif arguments.pairs is not None:
        _register_many(arguments, command)
    else:
        _register_one(arguments, command)


def _register_one(arguments: argparse.Namespace, command: str) -> None:
    missing = [f"--{role}" for role in ("fixed", "moving") if getattr(arguments, role) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} must be given, or --pairs with a table of pairs, or --dataset with a folder"
        )
    if arguments.shard != "1/1":
        raise UserError(f"shard={arguments.shard}: needs --pairs or --dataset")
    from mmreg_lightning.data.pair import Pair
    from mmreg_lightning.registration.register import register_files
    from mmreg_lightning.registration.report import summary
    from mmreg_lightning.registration.settings import resolve
    from mmreg_lightning.registration.solve import Stopwatch

    watch = Stopwatch()
    with watch.stage("settings"):
        settings = resolve(_options(arguments))
    files = Pair(_files(arguments, "fixed"), _files(arguments, "moving"))
    with progress_bar("registering") as update:
        result = register_files(
            files,
            settings,
            arguments.out,
            field_formats=arguments.field_formats,
            overwrite=arguments.overwrite,
            progress=functools.partial(update, "registering"),
            command=command,
            watch=watch,
        )
    print(f"{summary(result.scores)}, {watch.total():.1f} s")
    if result.confidence is not None:
        print(f"Confidence {result.confidence.case:.2f}")
        if result.confidence.low:
            print(f"Warning: {result.confidence.sentence()}.")
    for note in result.notes:
        print(f"Note: {note}")
    print(f"Results: {arguments.out}")


def _check_alone(arguments: argparse.Namespace, option: str, what: str, *others: str) -> None:
    """Check that nothing is given that the many pairs of ``option`` leave no room for."""
    parts = (None, *PARTS, "series")
    names = [role if part is None else f"{role}_{part}" for part in parts for role in ("fixed", "moving")]
    for name in (*names, *others):
        if getattr(arguments, name) is not None:
            raise UserError(f"{name}={getattr(arguments, name)}: not together with {option}, {what} names files")
    if arguments.overwrite:
        raise UserError(f"--overwrite: not together with {option}, which skips the pairs that are finished")


def _register_dataset(arguments: argparse.Namespace, command: str) -> None:
    _check_alone(arguments, "--dataset", "whose description", "pairs")
    from mmreg_lightning.registration.batch import SUMMARY, read_shard
    from mmreg_lightning.registration.dataset import FIELDS, plan_submission, register_dataset

    shard = read_shard(arguments.shard)
    split = arguments.split or "val"
    plan = plan_submission(arguments.dataset, _options(arguments), split)
    with progress_bar("registering") as update:
        failed = register_dataset(
            plan,
            arguments.out,
            shard=shard,
            field_formats=arguments.field_formats,
            progress=functools.partial(update, "registering"),
            command=command,
        )
    print(f"Results: {arguments.out / FIELDS}, {arguments.out / SUMMARY}, and a folder for each pair")
    if failed:
        raise UserError(f"{len(failed)} of the pairs of {arguments.dataset} failed: {', '.join(failed)}")


def _register_many(arguments: argparse.Namespace, command: str) -> None:
    _check_alone(arguments, "--pairs", "whose table")
    from mmreg_lightning.registration.batch import SUMMARY, read_pairs, read_shard, register_batch

    shard = read_shard(arguments.shard)
    pairs = read_pairs(arguments.pairs)
    from mmreg_lightning.registration.register import register_files
    from mmreg_lightning.registration.settings import resolve

    settings = resolve(_options(arguments))

    def register(files: Pair[ImageFiles], folder: Path) -> list[str]:
        with progress_bar("registering") as update:
            progress = functools.partial(update, "registering")
            formats = arguments.field_formats
            result = register_files(files, settings, folder, field_formats=formats, progress=progress, command=command)
        return result.notes

    failed = register_batch(pairs, arguments.out, register, shard, lambda files: settings)
    print(f"Results: {arguments.out / SUMMARY}, and a folder for each pair")
    if failed:
        raise UserError(f"{len(failed)} of the pairs of {arguments.pairs} failed: {', '.join(failed)}")


def _options(arguments: argparse.Namespace) -> Options:
    from dataclasses import fields

    from mmreg_lightning.registration.settings import Options

    return Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})


def _files(arguments: argparse.Namespace, role: str) -> ImageFiles:
    from mmreg_lightning.data.pair import ImageFiles

    parts = {part: getattr(arguments, f"{role}_{part}") for part in (*PARTS, "series")}
    return ImageFiles(getattr(arguments, role), **parts)


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
