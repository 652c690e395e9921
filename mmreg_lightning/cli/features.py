"""``mmreg-features``: show features of an image or a pair, or measure them on a data set."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.cli._app import entry_point, progress_bar
from mmreg_lightning.cli._features import add_features
from mmreg_lightning.errors import UserError

SPLITS = ("train", "val", "test")
_OF_IMAGES = ("labels", "modality", "other_image", "other_labels", "other_modality", "point", "spacing", "device")
_OF_DATA = ("split", "probe_split", "subjects", "descent_pairs", "seed")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-features",
        description="Write feature maps (NIfTI), pictures and an interactive page of one image or of two in one "
        "feature space (--image); or measure modality invariance, capture range and energy landscape of trained "
        "features beside MIND-SSC and intensity on held-out images (--data).",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", type=Path, metavar="A", help="image whose features are shown")
    what.add_argument("--data", type=Path, metavar="DIR", help="data set in Learn2Reg layout to measure on")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parser.add_argument("--checkpoint", type=Path, metavar="C", help="of mmreg-train")
    add_features(parser)
    image = parser.add_argument_group("with --image")
    image.add_argument(
        "--labels", type=Path, metavar="L", help="label map, for the effect size of each channel and organ"
    )
    image.add_argument("--modality", metavar="NAME", help="default: that of the checkpoint's fixed images")
    image.add_argument("--other-image", type=Path, metavar="B", help="image of the other modality, for comparison")
    image.add_argument("--other-labels", type=Path, metavar="L2", help="its label map")
    image.add_argument("--other-modality", metavar="NAME", help="default: that of the checkpoint's moving images")
    image.add_argument(
        "--point",
        type=float,
        nargs=3,
        metavar=("I", "J", "K"),
        help="voxel of the file A whose features are searched in B (without B: in A)",
    )
    image.add_argument("--spacing", type=float, metavar="MM", help="of the working grid; default: the checkpoint's")
    image.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    data = parser.add_argument_group("with --data")
    data.add_argument("--split", choices=SPLITS, help="split to measure on (default: test)")
    data.add_argument("--probe-split", choices=SPLITS, help="split that the linear probe learns from (default: val)")
    data.add_argument(
        "--subjects", type=int, metavar="N", help="maximum number of subjects of each split (default: 10)"
    )
    data.add_argument(
        "--descent-pairs", type=int, metavar="N", help="pairs for capture range and energy landscape (default: 3)"
    )
    data.add_argument("--seed", type=int, metavar="N", help="of the random voxels, points and fields (default: 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command, and print the most important numbers and the path of the page.

    Raises:
        UserError: options or files cannot be used.
    """
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-features", *(sys.argv[1:] if argv is None else argv)])
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    mode, unused = ("data", _OF_IMAGES) if arguments.image is None else ("image", _OF_DATA)
    for name in unused:
        if name in given:
            raise UserError(f"{name}={given[name]}: cannot be used together with --{mode}")
    if arguments.image is None:
        _study(arguments, given, command)
    else:
        _maps(arguments, given, command)


def _maps(arguments: argparse.Namespace, given: Mapping[str, Any], command: str) -> None:
    for name in ("other_labels", "other_modality"):
        if name in given and arguments.other_image is None:
            raise UserError(f"{name}={given[name]}: needs --other-image")

    from mmreg_lightning.data.pair import ImageFiles
    from mmreg_lightning.inspection.commands import write_feature_maps

    images = [ImageFiles(arguments.image, arguments.labels, modality=arguments.modality or "")]
    if arguments.other_image is not None:
        modality = arguments.other_modality or ""
        images.append(ImageFiles(arguments.other_image, arguments.other_labels, modality=modality))
    with progress_bar("features") as progress:
        content = write_feature_maps(
            images,
            arguments.out,
            point=arguments.point,
            checkpoint=arguments.checkpoint,
            features=arguments.features,
            spacing=arguments.spacing,
            device=given.get("device", "auto"),
            overwrite=arguments.overwrite,
            progress=progress,
            command=command,
        )
    if content["similarity"] is not None:
        match = ", ".join(f"{x:.1f}" for x in content["similarity"]["match_voxel"])
        print(f"Best match of the point: voxel {match}")
    for note in content["notes"]:
        print(f"Note: {note}")
    print(f"Results: {arguments.out / 'features.html'}")


def _study(arguments: argparse.Namespace, given: Mapping[str, Any], command: str) -> None:
    if arguments.checkpoint is None and arguments.features is None:
        raise UserError(f"data={arguments.data}: needs --checkpoint or --features, which are measured")

    from mmreg_lightning.config import CACHE_DIR
    from mmreg_lightning.data.assumptions import header_notes, notes_in_words
    from mmreg_lightning.inspection.commands import write_feature_study
    from mmreg_lightning.inspection.study import Study
    from mmreg_lightning.inspection.study_report import summary_table
    from mmreg_lightning.reporting.pages import markdown_table

    # An option that is not given keeps the default of the class.
    options = {name: given[name] for name in _OF_DATA if name in given}
    study = Study(arguments.checkpoint, arguments.data, **options, features=arguments.features)
    for line in notes_in_words(
        header_notes(files for pairs in study.pairs.values() for pair in pairs for files in pair)
    ):
        print(line)
    with progress_bar("images", "retrieval", "displacements") as progress:
        summary = write_feature_study(
            study,
            arguments.out,
            cache_dir=CACHE_DIR,
            overwrite=arguments.overwrite,
            progress=progress,
            command=command,
        )
    print(markdown_table(summary_table(summary)))
    print(f"Results: {arguments.out / 'report.html'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
