"""Running a peer in a process of its own.

So that its memory is measured alone, a crash ends one trial and not the benchmark, and what it does to the interpreter
(convexAdam turns all warnings off) stays there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class PeerError(Exception):
    """A peer ended without a field; the message holds the end of what it printed."""


def run_peer(
    name: str, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int
) -> dict[str, float]:
    """Register with a peer, see ``Peer``.

    Returns:
        ``seconds`` of the registration itself (without starting Python), and ``peak_memory_mb`` of the process.

    Raises:
        PeerError: it failed.
    """
    count = str(threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    request = json.dumps({"name": name, "settings": dict(settings), "threads": threads})
    files = [str(path.resolve()) for path in (fixed, moving, field)]
    command = [sys.executable, "-m", "mmreg_lightning.benchmark.peers", request, *files]
    # Where the field is wanted: elastix leaves files of its own in the folder that it runs in.
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, cwd=field.parent
    )
    if done.returncode != 0 or not field.is_file():
        raise PeerError(f"{name}: {_ending(done.returncode)}; {_last_words(done.stderr or done.stdout)}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
