"""``mmreg-phantom``: write a procedural CT/MR abdomen phantom in Learn2Reg layout."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-phantom",
        description="Write random abdomens, each an MR (fixed) and a CT (moving), with labels and landmarks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--subjects", type=int, required=True, metavar="N", help="number of subjects")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        default=[96, 80, 96],
        metavar=("I", "J", "K"),
        help="voxels, right-left first",
    )
    parser.add_argument("--spacing", type=float, metavar="MM", help="isotropic voxel size; 384 mm / I when not given")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other subjects")
    parser.add_argument("--val", type=int, metavar="N", help="subjects to validate on; a fifth when not given")
    parser.add_argument("--test", type=int, metavar="N", help="subjects to test on; a fifth when not given")
    parser.add_argument(
        "--intra-displacement",
        type=float,
        default=15.0,
        metavar="MM",
        help="largest known displacement between the MR and the CT of a subject; 0 for none",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the phantom that ``argv`` asks for and print where it lies."""
    arguments = build_parser().parse_args(argv)

    from mmreg_lightning.phantom.dataset import write_phantom

    folder = write_phantom(
        arguments.out,
        arguments.subjects,
        arguments.size,
        spacing=arguments.spacing,
        seed=arguments.seed,
        val=arguments.val,
        test=arguments.test,
        intra_displacement=arguments.intra_displacement,
        progress=True,
    )
    print(f"Phantom of {arguments.subjects} subjects: {folder}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
