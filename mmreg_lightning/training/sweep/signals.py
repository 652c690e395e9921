"""Ctrl-C and SIGTERM reach the trainings that a multirun has given to processes of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from mmreg_lightning.files import LOCK

PATIENCE = 60.0
"""Seconds that trainings have to end their step and write last.ckpt."""


class SignalsForWorkers(Callback):
    """Hydra's callback that passes Ctrl-C and SIGTERM on to joblib's processes and waits for them, not for long.

    It waits ``PATIENCE`` at most. Joblib itself kills its processes in the middle of a step. A second signal ends
    at once.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came = False

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before the first run."""
        if "Joblib" in str(config.hydra.launcher.get("_target_")):
            self._sweep = Path(config.hydra.sweep.dir)
            self._before = {n: signal.signal(n, self._pass_on) for n in (signal.SIGINT, signal.SIGTERM)}

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when all runs have ended."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: Any) -> None:
        workers = set() if self._came else set(_workers(self._sweep))
        self._came = True
        if workers:
            name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
            print(
                f"{name}: {len(workers)} trainings end after their steps, at most {PATIENCE:.0f} s; a second signal "
                "ends at once",
                flush=True,
            )
        for worker in workers:
            os.kill(worker, number)
        end = time.monotonic() + PATIENCE
        while workers.intersection(_workers(self._sweep)) and time.monotonic() < end:
            time.sleep(0.1)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _workers(sweep: Path) -> Iterator[int]:
    """Those processes of this one that train in a folder of the sweep."""
    for lock in sweep.rglob(LOCK):
        try:
            found = re.match(r"process (\d+) on (.*)\n", lock.read_text(encoding="utf-8"))
        except FileNotFoundError:  # it has just ended
            continue
        if found and found[2] == socket.gethostname() and _parent(int(found[1])) == os.getpid():
            yield int(found[1])


def _parent(process: int) -> int | None:
    """The process that began a process; None where that has ended."""
    if Path("/proc/self/stat").exists():
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        except OSError:
            return None
        return int(state.rpartition(")")[2].split()[1])
    shown = subprocess.run(["ps", "-o", "ppid=", "-p", str(process)], capture_output=True, encoding="utf-8").stdout
    return int(shown) if shown.strip() else None
