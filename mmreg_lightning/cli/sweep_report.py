"""``mmreg-sweep-report``: the table of a multirun of mmreg-train."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-sweep-report",
        description="Read the trainings of a multirun from their folders. Writes sweep.csv, report.md, report.tex, "
        "report.html, curves.png and effects.png; trainings that failed or have not finished are named.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="hydra.sweep.dir of mmreg-train -m")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: the same folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report as ``argv`` says, and print its table."""
    arguments = build_parser().parse_args(argv)

    from mmreg_lightning.training.sweep.report import write_sweep_report

    print(write_sweep_report(arguments.folder, arguments.out))
    print(f"Report: {(arguments.out or arguments.folder) / 'report.html'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
