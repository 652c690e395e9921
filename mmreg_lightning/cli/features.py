"""``mmreg-features``: look at features of an image or a pair, or measure them on a data set."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point, progress_bar
from mmreg_lightning.errors import UserError

SPLITS = ("train", "val", "test")
_OF_IMAGES = (
    "labels",
    "modality",
    "other_image",
    "other_labels",
    "other_modality",
    "point",
    "spacing",
    "device",
)
_OF_DATA = ("split", "probe_split", "subjects", "descent_pairs", "seed")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-features",
        description="Write feature maps (NIfTI), pictures and an interactive page of one image or of two in one "
        "feature space (--image); or measure modality invariance, capture range and energy landscape of a checkpoint's "
        "features beside MIND-SSC and intensity on held-out images (--data).",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", type=Path, metavar="A", help="image to look at")
    what.add_argument("--data", type=Path, metavar="DIR", help="data set in Learn2Reg layout to measure on")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="C", help="of mmreg-train; --image without one shows MIND-SSC"
    )
    image = parser.add_argument_group("with --image")
    image.add_argument("--labels", type=Path, metavar="L", help="label map: which organs each channel answers to")
    image.add_argument("--modality", metavar="NAME", help="default: that of the checkpoint's fixed images")
    image.add_argument("--other-image", type=Path, metavar="B", help="of the other modality, to compare with")
    image.add_argument("--other-labels", type=Path, metavar="L2", help="its label map")
    image.add_argument("--other-modality", metavar="NAME", help="default: that of the checkpoint's moving images")
    image.add_argument(
        "--point",
        type=float,
        nargs=3,
        metavar=("I", "J", "K"),
        help="voxel of the file A: where in B (without B: in A) are features alike?",
    )
    image.add_argument("--spacing", type=float, metavar="MM", help="of the working grid; default: the checkpoint's")
    image.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    data = parser.add_argument_group("with --data")
    data.add_argument("--split", choices=SPLITS, help="split to measure on (default: test)")
    data.add_argument("--probe-split", choices=SPLITS, help="split that the linear probe learns from (default: val)")
    data.add_argument("--subjects", type=int, metavar="N", help="at most so many of each split (default: 10)")
    data.add_argument("--descent-pairs", type=int, metavar="N", help="pairs of capture and landscape (default: 3)")
    data.add_argument("--seed", type=int, metavar="N", help="of the drawn voxels, points, fields (default: 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Do what ``argv`` says; print the numbers and where the results lie."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-features", *(sys.argv[1:] if argv is None else argv)])
    used, unused = (_OF_DATA, _OF_IMAGES) if arguments.image is None else (_OF_IMAGES, _OF_DATA)
    for name in unused:
        if getattr(arguments, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(arguments, name)}: not together with "
                f"--{'data' if arguments.image is None else 'image'}"
            )
    # What was not given keeps the default of the function.
    options = {name: getattr(arguments, name) for name in used if getattr(arguments, name) is not None}
    if arguments.image is None and arguments.checkpoint is None:
        raise UserError(f"--data {arguments.data}: needs --checkpoint, whose features are measured")

    from mmreg_lightning.inspection.commands import write_feature_maps, write_feature_study

    common = {"overwrite": arguments.overwrite, "command": command, **options}
    if arguments.image is not None:
        with progress_bar("features") as progress:
            content = write_feature_maps(
                arguments.image, arguments.out, checkpoint=arguments.checkpoint, progress=progress, **common
            )
        alike = content["similarity"]
        if alike is not None:
            match = ", ".join(f"{x:.1f}" for x in alike["match_voxel"])
            print(f"Best match of the point: voxel {match}")
        print(f"Results: {arguments.out / 'features.html'}")
        return
    from mmreg_lightning.config import CACHE_DIR
    from mmreg_lightning.inspection.study_report import summary_table
    from mmreg_lightning.reporting.pages import markdown_table

    with progress_bar("images", "retrieval", "displacements") as progress:
        summary = write_feature_study(
            arguments.checkpoint, arguments.data, arguments.out, cache_dir=CACHE_DIR, progress=progress, **common
        )
    print(markdown_table(summary_table(summary)))
    print(f"Results: {arguments.out / 'report.html'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
