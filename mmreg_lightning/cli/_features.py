"""The option ``--features``, which several commands share."""

from __future__ import annotations

import argparse

from mmreg_lightning.config import DEFAULT_FEATURES


def add_features(parser: argparse.ArgumentParser) -> None:
    """Add ``--features`` to the parser of a command."""
    parser.add_argument(
        "--features",
        metavar="NAME|FILE",
        help="pretrained (the newest shipped weights, for images of any modality; others by their name, as "
        "generalist-1, or a .safetensors file), mind_ssc, fused (trained channels beside MIND-SSC: those of the "
        "checkpoint, without one pretrained), intensity, or a YAML file as those of conf/features; default: those of "
        f"the checkpoint, without one {DEFAULT_FEATURES}",
    )
