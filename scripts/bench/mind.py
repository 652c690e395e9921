"""MIND-SSC beside the convexAdam package's, each in a process of its own."""

from __future__ import annotations

import json
import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from clock import process, python

SIZE = (192, 160, 192)
_COMMON = """
import json, sys, time, torch
from mmreg_lightning.runtime import peak_memory_mb, reset_peak_memory
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(1)
describe(torch.rand(1, 1, 32, 32, 32))
image = torch.rand(1, 1, {size})
reset_peak_memory()
before, start = peak_memory_mb(), time.perf_counter()
out = describe(image)
seconds = time.perf_counter() - start
print(json.dumps({{"seconds": seconds, "mb": peak_memory_mb() - before}}))
"""
_CODES = {
    "mmreg_lightning": """
from mmreg_lightning.functional.mind import mind_ssc
def describe(image): return mind_ssc(image, 1, 2)
""",
    "convexAdam": """
from convexAdam.convex_adam_utils import MINDSSC
def describe(image): return MINDSSC(image, 1, 2, device=image.device)
""",
}


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    common = _COMMON.format(size=", ".join(map(str, SIZE)))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _CODES}
    for _ in range(arguments.repeats):
        for name, code in _CODES.items():
            process(python("-W", "ignore", "-c", code + common, arguments.threads), arguments.threads, out)
            found[name].append(json.loads((out / "process.log").read_text(encoding="utf-8").splitlines()[-1]))
    middle = {
        name: {key: statistics.median(one[key] for one in own) for key in ("seconds", "mb")}
        for name, own in found.items()
    }
    theirs = middle["convexAdam"]
    rows = [["", "s", "x convexAdam", "MB", "x convexAdam"]]
    for name, own in middle.items():
        seconds, memory = own["seconds"], own["mb"]
        ratios = seconds / theirs["seconds"], memory / theirs["mb"]
        rows.append([name, f"{seconds:.2f}", f"{ratios[0]:.2f}", f"{memory:.0f}", f"{ratios[1]:.2f}"])
    rows.append(["largest difference", f"{_difference():.1e}", "", "", ""])
    return {f"MIND-SSC of {'x'.join(map(str, SIZE))} voxels, radius 1, dilation 2": rows}


def _difference() -> float:
    from convexAdam.convex_adam_utils import MINDSSC

    from mmreg_lightning.functional.mind import mind_ssc

    image = torch.rand(1, 1, 48, 40, 44, generator=torch.Generator().manual_seed(1))
    return float((mind_ssc(image, 1, 2) - MINDSSC(image, 1, 2, device=image.device)).abs().max())
