"""``mmreg-apply``: saved transforms onto images, label maps, points and meshes."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point, progress_bar


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-apply",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Apply saved transforms to an image, a label map, points or a mesh.",
        epilog="""A transform of mmreg-register takes places in the fixed image to places in the moving one:
  moving image onto the fixed grid    mmreg-apply --transform RESULT --input moving.nii.gz --reference fixed.nii.gz ...
  fixed points into the moving image  mmreg-apply --transform RESULT --input points.csv --points-frame ras ...
  moving points into the fixed image  the same with --inverse
  fixed image onto the moving grid    --inverse --reference moving.nii.gz""",
    )
    parser.add_argument(
        "--transform",
        nargs="+",
        required=True,
        metavar="T",
        help="folder of mmreg-register, displacement field of ITK (.nii.gz, .mha, .nrrd) or transform file of ITK or "
        "ANTs (.tfm, .txt, .mat, .h5); several are passed through in this order and images are still sampled once; "
        "[T,1] is the inverse of one",
    )
    parser.add_argument("--inverse", action="store_true", help="of all transforms together")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="X",
        help="image (NIfTI, NRRD, MetaImage, DICOM; every frame of a series over time), points (.csv, Slicer's "
        ".mrk.json) or mesh (.ply, .vtk, .vtu, .stl, .obj, .off)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="Y", help="file to write")
    parser.add_argument(
        "--reference", type=Path, metavar="R", help="image whose grid the result gets (voxel points: its voxels)"
    )
    parser.add_argument(
        "--labels",
        nargs="?",
        const="nearest",
        choices=("nearest", "vote"),
        help="the image is a label map: nearest voxel (default), or a vote of linearly warped labels, which places "
        "surfaces between voxels",
    )
    parser.add_argument(
        "--points-frame",
        choices=("voxel", "ras", "lps"),
        help="coordinates of a CSV or mesh: voxels of --points-image, or world mm (Slicer saves meshes in LPS)",
    )
    parser.add_argument("--points-image", type=Path, metavar="P", help="image in whose voxels the input points are")
    parser.add_argument(
        "--series", metavar="UID", help="of an input folder with several DICOM series, which an error message lists"
    )
    parser.add_argument("--reference-series", metavar="UID", help="likewise, of the reference")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Apply as ``argv`` says; print what was done."""
    arguments = build_parser().parse_args(argv)

    from mmreg_lightning.registration.apply import apply_to_file, read_chain

    with progress_bar("frames") as update:
        done = apply_to_file(
            read_chain(arguments.transform, arguments.inverse),
            arguments.input,
            arguments.out,
            reference=arguments.reference,
            labels=arguments.labels,
            points_frame=arguments.points_frame,
            points_image=arguments.points_image,
            series=arguments.series,
            reference_series=arguments.reference_series,
            overwrite=arguments.overwrite,
            progress=functools.partial(update, "frames"),
        )
    print(f"{done}\nResult: {arguments.out}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
