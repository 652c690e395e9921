"""``mmreg-calibrate``: fit on labelled pairs how likely a registration is wrong, for ``mmreg-register``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point, progress_bar
from mmreg_lightning.cli._features import add_features
from mmreg_lightning.errors import UserError, positive_int

SPLITS = ("train", "val", "test")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-calibrate",
        description="Register labelled pairs, as they are and perturbed. Calibrate on them how likely a "
        "registration is wrong, and where. Test the calibration on pairs of another split. Learned "
        "features run with the descent step of their checkpoint, in every command. Features without a "
        "checkpoint start from the shipped step. Writes confidence.json (for mmreg-register "
        "--confidence), risk_coverage.json, cases.csv, report.html. The same command continues a run "
        "that was stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set in Learn2Reg layout")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--checkpoint", type=Path, metavar="C", help="of mmreg-train")
    add_features(parser)
    parser.add_argument("--split", choices=SPLITS, default="val", help="split to calibrate on")
    parser.add_argument("--report", choices=SPLITS, default="test", help="split to test on")
    parser.add_argument("--pairs", type=int, default=12, metavar="N", help="at most so many pairs of each split")
    parser.add_argument("--variants", type=int, default=6, metavar="N", help="perturbed versions of each pair")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="MM",
        help="an organ surface that is off by more is wrong; None: two working voxels",
    )
    parser.add_argument("--solver", metavar="NAME", help="as in mmreg-register")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="as in mmreg-register",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the perturbations")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate as ``argv`` says; print the results of the test."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["mmreg-calibrate", *(sys.argv[1:] if argv is None else argv)])
    positive_int("pairs", arguments.pairs)
    if arguments.variants < 0:
        raise UserError(f"variants={arguments.variants}: must be 0 or more")
    if arguments.tolerance is not None and not 0 < arguments.tolerance < float("inf"):
        raise UserError(f"tolerance={arguments.tolerance}: must be a positive number of millimetres")
    from mmreg_lightning import __version__
    from mmreg_lightning.calibration.calibrate import calibrate
    from mmreg_lightning.calibration.report import write_calibration
    from mmreg_lightning.data.assumptions import notes_in_words
    from mmreg_lightning.files import ensure_output_dir
    from mmreg_lightning.registration.settings import Options, resolve

    settings = resolve(
        Options(arguments.checkpoint, arguments.features, solver=arguments.solver, overrides=arguments.overrides)
    )
    folder = ensure_output_dir(arguments.out)
    with progress_bar(f"registering {arguments.split}", f"registering {arguments.report}") as progress:
        found = calibrate(
            settings,
            arguments.data,
            folder,
            split=arguments.split,
            report=arguments.report,
            pairs=arguments.pairs,
            variants=arguments.variants,
            tolerance_mm=arguments.tolerance,
            seed=arguments.seed,
            progress=progress,
        )
    facts = {"title": f"Confidence on {arguments.data.name}", "command": command, "version": __version__}
    write_calibration(folder, found, facts)
    for name, area in found.cases.items():
        print(
            f"{name}: {area.cases} cases, area under the risk-coverage curve {area.area:.4f} (random "
            f"{area.random:.4f}, oracle {area.oracle:.4f}), gain {area.gain_text()}"
        )
    for line in notes_in_words(found.header_notes):
        print(line)
    print(f"Results: {folder / 'confidence.json'}, {folder / 'report.html'}")


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
