"""MIND-SSC beside the convexAdam package's, each in a process of its own."""

from __future__ import annotations

import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from clock import process, python

SIZE = (192, 160, 192)
_COMMON = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(1)
image = torch.rand(1, 1, {size})
print("ready")
"""
_OURS = "from mmreg_lightning.functional.mind import mind_ssc\n" + _COMMON + "out = mind_ssc(image, 1, 2)\n"
_THEIRS = (
    "from convexAdam.convex_adam_utils import MINDSSC\n" + _COMMON + "out = MINDSSC(image, 1, 2, device=image.device)\n"
)
_NOTHING = "from convexAdam.convex_adam_utils import MINDSSC\n" + _COMMON


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    size = ", ".join(map(str, SIZE))
    codes = {"mmreg_lightning": _OURS, "convexAdam": _THEIRS, "start, and the image alone": _NOTHING}
    runs: dict[str, list[Any]] = {name: [] for name in codes}
    for _ in range(arguments.repeats):
        for name, code in codes.items():
            runs[name].append(process(python("-W", "ignore", "-c", code.format(size=size), arguments.threads), 2, out))
    found = {
        name: (statistics.median(r.wall for r in own), statistics.median(r.peak_mb for r in own))
        for name, own in runs.items()
    }
    start, base = found["start, and the image alone"]
    seconds, memory = found["convexAdam"]
    rows = [["", "s", "x convexAdam", "MB above the start", "x convexAdam"]]
    for name in ("mmreg_lightning", "convexAdam"):
        own, peak = found[name]
        rows.append(
            [
                name,
                f"{own - start:.2f}",
                f"{(own - start) / (seconds - start):.2f}",
                f"{peak - base:.0f}",
                f"{(peak - base) / (memory - base):.2f}",
            ]
        )
    rows.append(["largest difference", f"{_difference():.1e}", "", "", ""])
    return {f"MIND-SSC of {'x'.join(map(str, SIZE))} voxels, radius 1, dilation 2": rows}


def _difference() -> float:
    from convexAdam.convex_adam_utils import MINDSSC

    from mmreg_lightning.functional.mind import mind_ssc

    image = torch.rand(1, 1, 48, 40, 44, generator=torch.Generator().manual_seed(1))
    return float((mind_ssc(image, 1, 2) - MINDSSC(image, 1, 2, device=image.device)).abs().max())
