"""Trained features as a file that the package can carry: ``python scripts/export_weights.py CHECKPOINT OUT ABOUT``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(
        description="Write the features of a checkpoint in half precision (NAME-NUMBER.safetensors) and their "
        "description (NAME-NUMBER.json). Features for images of any modality need features.stem=shared."
    )
    parser.add_argument("checkpoint", type=Path, help="of mmreg-train")
    parser.add_argument("out", type=Path, help="as mmreg_lightning/weights/generalist-1.safetensors")
    parser.add_argument(
        "about",
        type=Path,
        help="YAML file with trained_on (a list of name and licence of the data) and, for example, measures",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        metavar="MM",
        help="of the working grid of registrations; default: chosen for every fixed image, not that of the training",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="settings of the solver that suit these features, as in mmreg-register: solver.step.alpha=0.1",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Export as ``argv`` says; print what was written."""
    arguments = build_parser().parse_args(argv)
    from mmreg_lightning.training.export import export_weights

    described = export_weights(
        arguments.checkpoint,
        arguments.out,
        arguments.about,
        spacing=arguments.spacing,
        overrides=arguments.overrides,
    )
    print(f"Results: {arguments.out} ({arguments.out.stat().st_size / 1e6:.2f} MB), {described}")


if __name__ == "__main__":
    entry_point(main, build_parser)()
