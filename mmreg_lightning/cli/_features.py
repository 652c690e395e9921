"""The option ``--features``, which several commands share."""

from __future__ import annotations

import argparse

from mmreg_lightning.config import DEFAULT_FEATURES


def add_features(parser: argparse._ActionsContainer, beside: str = "") -> None:
    """Add ``--features`` to a parser.

    Args:
        parser: of the command, or a group of it.
        beside: what the features are for, where the command has others, too; a beginning of the help.
    """
    parser.add_argument(
        "--features",
        metavar="NAME|FILE",
        help=f"{beside}pretrained (the newest shipped weights, for images of any modality; others by their name, as "
        "generalist-1, or a .safetensors file), mind_ssc, fused (trained channels beside MIND-SSC: those of the "
        "checkpoint, without one pretrained), intensity, or a YAML file as those of conf/features; default: those of "
        f"the checkpoint, without one {DEFAULT_FEATURES}",
    )
