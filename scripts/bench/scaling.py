"""Time and memory of a registration against voxels, channels, iterations and threads."""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.descent.regularisers import GaussianRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.runtime import peak_memory_mb, reset_peak_memory
from mmreg_lightning.solvers.demons import DemonsSolver

BASE = {"side": 64, "channels": 16, "iterations": 20, "threads": 2}
AXES = {"side": (32, 48, 64, 96), "channels": (4, 16, 32), "iterations": (10, 20, 40), "threads": (1, 2)}


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    rows = [["", "feature voxels", "channels", "iterations a level", "threads", "s", "ms / iteration / Mvoxel", "MB"]]
    for axis, values in AXES.items():
        for value in values:
            rows.append(_row(axis, {**BASE, axis: value}, arguments.repeats))
    torch.set_num_threads(arguments.threads)
    return {"demons on a pyramid 4, 2, 1": rows}


@torch.no_grad()
def _row(axis: str, setting: dict[str, int], repeats: int) -> list[str]:
    torch.set_num_threads(setting["threads"])
    torch.manual_seed(1)
    shape = (setting["side"],) * 3
    fixed, moving = (gaussian_smooth(torch.rand(1, setting["channels"], *shape), 1.0) for _ in range(2))
    step = DescentStep(GaussianRegulariser(0.7, 0.7), alpha=0.1)
    solver = DemonsSolver(step, (4, 2, 1), setting["iterations"])
    solver(fixed, moving)
    seconds = []
    reset_peak_memory()
    before = peak_memory_mb()
    for _ in range(repeats):
        start = time.perf_counter()
        solver(fixed, moving)
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    voxels = fixed[0, 0].numel()
    each = middle / setting["iterations"] / (voxels * (1 + 1 / 8 + 1 / 64) / 1e6)
    return [
        axis,
        f"{setting['side']}^3",
        str(setting["channels"]),
        str(setting["iterations"]),
        str(setting["threads"]),
        f"{middle:.2f}",
        f"{1e3 * each:.0f}",
        f"{peak_memory_mb() - before:.0f}",
    ]
