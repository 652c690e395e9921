"""Timing of several things in turns, in this process or in processes of their own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


def in_turns(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each action, each run once for nothing and then ``repeats`` times, one after the other."""
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median of each."""
    return {name: statistics.median(values) for name, values in times.items()}


class Run(NamedTuple):
    """One process: wall seconds, CPU seconds, and largest resident memory in MB."""

    wall: float
    cpu: float
    peak_mb: float


def process(command: Sequence[str], threads: int, folder: Path) -> Run:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    log = folder / "process.log"
    with open(log, "w", encoding="utf-8") as stream:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=folder)
        # wait4 knows this child's own use alone, children of it included.
        _, status, use = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ...: {log.read_text(encoding='utf-8')[-500:]}")
    return Run(wall, use.ru_utime + use.ru_stime, use.ru_maxrss / 2**10)


def python(*arguments: object) -> list[str]:
    """Command line of this interpreter."""
    return [sys.executable, *map(str, arguments)]
