"""``mmreg-register``: register two NIfTI images, with a trained checkpoint or with MIND-SSC."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmreg_lightning.cli._entry import run

if TYPE_CHECKING:
    from mmreg_lightning.solvers.protocol import Progress


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-register",
        description="Register two NIfTI images. Writes warped.nii.gz, displacement.itk.nii.gz, run.yaml, report.png "
        "and metrics.json.",
    )
    parser.add_argument("--fixed", type=Path, required=True, metavar="F", help="image to register to")
    parser.add_argument("--moving", type=Path, required=True, metavar="M", help="image to warp onto it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in the folder")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="C", help="of mmreg-train; without one the features are MIND-SSC"
    )
    parser.add_argument(
        "--fixed-modality",
        metavar="NAME",
        help="sets the intensity recipe (and the stem of the network): CT is a window of Hounsfield units; default: "
        "the checkpoint's, without one percentiles",
    )
    parser.add_argument("--moving-modality", metavar="NAME", help="likewise")
    parser.add_argument("--fixed-labels", type=Path, metavar="L", help="label map, for Dice and the report")
    parser.add_argument("--moving-labels", type=Path, metavar="L")
    parser.add_argument(
        "--fixed-landmarks",
        type=Path,
        metavar="CSV",
        help='rows "i,j,k" in voxels of the image file, for the target registration error',
    )
    parser.add_argument("--moving-landmarks", type=Path, metavar="CSV", help="the same places, row by row")
    parser.add_argument(
        "--affine",
        choices=("none", "moments", "rigid", "similarity", "affine"),
        default="none",
        help="before the deformation: trust the headers (default), align the centres of mass, or search a rigid, "
        "similarity or affine transform by the features from both of these",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        metavar="MM",
        help="of the working grid; default: the checkpoint's, without one the fixed image's mean spacing, but at most "
        "128 voxels a side",
    )
    parser.add_argument(
        "--solver", metavar="NAME", help="demons, adam or convex_adam; default: the checkpoint's, without one demons"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="settings of the solver, as solver.iterations=40 descent.step.alpha=0.05",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Register as ``argv`` says; print what came out and where it lies."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-register", *(sys.argv[1:] if argv is None else argv)])

    from mmreg_lightning.pipeline import PairFiles, register_files
    from mmreg_lightning.report import summary

    files = PairFiles(
        fixed=arguments.fixed,
        moving=arguments.moving,
        fixed_labels=arguments.fixed_labels,
        moving_labels=arguments.moving_labels,
        fixed_landmarks=arguments.fixed_landmarks,
        moving_landmarks=arguments.moving_landmarks,
    )
    with _progress_bar() as progress:
        result = register_files(
            files,
            arguments.out,
            checkpoint=arguments.checkpoint,
            fixed_modality=arguments.fixed_modality,
            moving_modality=arguments.moving_modality,
            affine=arguments.affine,
            spacing=arguments.spacing,
            solver=arguments.solver,
            overrides=arguments.overrides,
            overwrite=arguments.overwrite,
            progress=progress,
            command=command,
        )
    print(f"{summary(result.scores)}, {result.metrics['seconds']['total']:.1f} s")
    print(f"Results: {result.folder}")


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on stderr that appears with the first iteration and goes with the last."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("registering", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def entry() -> None:
    """Console script."""
    run(main)


if __name__ == "__main__":
    entry()
