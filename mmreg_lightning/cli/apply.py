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
  fixed image onto the moving grid    --inverse --reference moving.nii.gz

Where the content of a file does not say whose it is, a word before its name does:
  fsl:T        matrix or warp of FSL; its reference and input image are --reference and --input (exchanged with
               --inverse), or named as fsl:T,REFERENCE,INPUT. A bare matrix in .mat is taken for FLIRT's.
  ras:T        bare 4x4 matrix, world RAS mm from the fixed to the moving image. One in .txt is taken for such.
  itk:T spm:T niftyreg:T minc:T    a NIfTI field, or an .xfm, of this program

Outside of a displacement field images and points go on with the affine of the result folder; a field alone goes on
with the affine that is closest to it.""",
    )
    parser.add_argument(
        "--transform",
        nargs="+",
        required=True,
        metavar="T",
        help="folder of mmreg-register, or a file: affine, B-spline, field or composite of ITK or ANTs (.tfm, .txt, "
        ".mat, .h5, .nii.gz, .mha, .nrrd), matrix or warp of FSL, .lta of FreeSurfer, deformation of SPM or NiftyReg, "
        "linear .xfm of MINC, bare 4x4 matrix; several are passed through in this order and images are still sampled "
        "once; [T,1] is the inverse of one; see below for what may stand before a name",
    )
    parser.add_argument("--inverse", action="store_true", help="of all transforms together")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="X",
        help="image (NIfTI, NRRD, MetaImage, DICOM; every frame of a series over time), points (.csv, .tsv, Slicer's "
        ".mrk.json and .fcsv) or mesh (.ply, .vtk, .vtu, .stl, .obj, .off)",
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
        help="coordinates of a mesh, or of a table whose header does not name r,a,s, l,p,s or i,j,k: voxels of "
        "--points-image, or world mm (Slicer saves meshes in LPS)",
    )
    parser.add_argument("--points-image", type=Path, metavar="P", help="image in whose voxels the input points are")
    parser.add_argument(
        "--series", metavar="UID", help="of an input folder with several DICOM series, which an error message lists"
    )
    parser.add_argument("--reference-series", metavar="UID", help="likewise, of the reference")
    parser.add_argument(
        "--fill",
        type=float,
        metavar="VALUE",
        help="of an image outside of the input's field of view (default: its smallest value, for labels 0)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Apply as ``argv`` says; print what was done."""
    arguments = build_parser().parse_args(argv)

    from mmreg_lightning.io.points import is_point_file
    from mmreg_lightning.registration.apply import apply_to_file, read_chain

    # An image is brought from the moving to the fixed grid, points go the other way.
    points = is_point_file(arguments.input)
    ends = [arguments.points_image, arguments.reference] if points else [arguments.reference, arguments.input]
    fixed, moving = reversed(ends) if arguments.inverse else ends
    with progress_bar("frames") as update:
        applied = apply_to_file(
            read_chain(arguments.transform, arguments.inverse, fixed=fixed, moving=moving),
            arguments.input,
            arguments.out,
            reference=arguments.reference,
            labels=arguments.labels,
            points_frame=arguments.points_frame,
            points_image=arguments.points_image,
            series=arguments.series,
            reference_series=arguments.reference_series,
            fill=arguments.fill,
            overwrite=arguments.overwrite,
            progress=functools.partial(update, "frames"),
        )
    print(applied.done)
    for note in applied.notes:
        print(f"Note: {note}")
    print(f"Result: {arguments.out}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
