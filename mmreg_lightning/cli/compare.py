"""``mmreg-compare``: a checkpoint's features against MIND-SSC and the true labels on one data set."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point, progress_bar
from mmreg_lightning.errors import UserError

SPLITS = ("train", "val", "test")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-compare",
        description="Tune the checkpoint's solver for learned features, MIND-SSC, the true labels and what --features "
        "names by the same search, then register held-out pairs. Learned features run with the descent step of their "
        "checkpoint, in every command. Features without a checkpoint start from the shipped step in "
        "other commands; here they have the checkpoint's solver, too, so that only the features "
        "differ. Writes tuning.json, results.json, report.html and a folder for each pair.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, metavar="C", help="of mmreg-train; may be left out with --features")
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="NAME|FILE",
        help="further rows: pretrained (shipped weights), fused (those of the checkpoint, or without one pretrained, "
        "beside MIND-SSC), intensity, a .safetensors file or a YAML file",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set in Learn2Reg layout")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--tune", choices=SPLITS, default="val", help="split to tune on")
    parser.add_argument("--tune-pairs", type=int, default=6, metavar="N", help="at most so many pairs of it")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier comparison in the folder")
    parser.add_argument("--report", choices=SPLITS, default="test", help="split to report on")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compare as ``argv`` says; print the table and where the report lies."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-compare", *(sys.argv[1:] if argv is None else argv)])
    if arguments.checkpoint is None and not arguments.features:
        raise UserError("--checkpoint or --features must be given")
    write_comparison(
        arguments.checkpoint,
        arguments.data,
        arguments.out,
        features=arguments.features,
        tune=arguments.tune,
        tune_pairs=arguments.tune_pairs,
        report=arguments.report,
        overwrite=arguments.overwrite,
        title=f"Features compared on {arguments.data.name}",
        command=command,
    )


def write_comparison(
    checkpoint: Path | None,
    data: Path,
    out: Path,
    *,
    features: Sequence[str] = (),
    tune: str,
    tune_pairs: int,
    report: str,
    overwrite: bool,
    title: str,
    command: str,
) -> None:
    """Run the comparison under a progress bar and print its table."""
    from mmreg_lightning.benchmark.comparison import compare, results_table
    from mmreg_lightning.data.assumptions import notes_in_words
    from mmreg_lightning.reporting.pages import markdown_table

    with progress_bar("tuning", "registering") as progress:
        results = compare(
            checkpoint,
            data,
            out,
            features=features,
            tune_split=tune,
            tune_pairs=tune_pairs,
            report_split=report,
            overwrite=overwrite,
            title=title,
            command=command,
            progress=progress,
        )
    print(markdown_table(results_table(results)))
    for line in notes_in_words(next(own["header_notes"] for own in results.values() if "header_notes" in own)):
        print(line)
    print(f"Results: {out / 'results.json'}, {out / 'report.html'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
