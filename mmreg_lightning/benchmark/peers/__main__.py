"""The process of one peer's registration: ``python -m mmreg_lightning.benchmark.peers REQUEST FIXED MOVING FIELD``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mmreg_lightning.benchmark.peers.registry import PEERS
from mmreg_lightning.runtime import peak_memory_mb


def main(arguments: list[str]) -> None:
    """Register as ``run_peer`` asks; the last line on stdout is its answer."""
    request = json.loads(arguments[0])
    fixed, moving, field = (Path(argument) for argument in arguments[1:])
    start = time.perf_counter()
    PEERS[request["name"]](fixed, moving, field, request["settings"], request["threads"])
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(sys.argv[1:])
