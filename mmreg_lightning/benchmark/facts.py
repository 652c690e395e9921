"""What a benchmark's report says about its run, and the check that a folder is not mixed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmreg_lightning import __version__
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version
from mmreg_lightning.benchmark.plan import Plan
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256, write_json


def run_facts(plan: Plan, settings: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Title, explanation, command, versions, machine and seed."""
    peers = {PEERS[m.name].package: peer_version(m.name) for m in plan.methods if m.name in PEERS}
    return {
        "title": f"Benchmark on {plan.dataset.name}",
        "what": (
            f"{plan.dataset.moving_modality} to {plan.dataset.fixed_modality}, {len(plan.cases)} pairs of the split "
            f"{settings['report']['split']}. Every method tried up to {plan.trials} settings on the same "
            f"{len(plan.tuning)} pairs of the split {settings['tuning']['split']}, and its best one (highest Dice; the "
            "smoothest within 0.005 of it; folds above 0.1 % rank last) ran once on the reported pairs."
        ),
        **machine_facts(settings, command, peers),
    }


def machine_facts(
    settings: Mapping[str, Any], command: str, peers: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Command, checkpoint, seed, versions (of ``peers``, too) and machine."""
    versions = {"mmreg-lightning": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    versions |= {name: str(number) for name, number in (peers or {}).items()}
    return {
        "command": command,
        "checkpoint": settings["checkpoint"],
        "seed": settings["seed"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


def check_same(folder: Path, settings: Mapping[str, Any], pairs: Sequence[Pair[ImageFiles]] = ()) -> None:
    """Note what a benchmark measures in ``benchmark.json``, or compare with what is noted there.

    Methods may be added to a benchmark, and more pairs be reported; data, checkpoint and tuning may not change.

    Args:
        folder: of the benchmark.
        settings: what may not change.
        pairs: all that it registers; their files may not change either.

    Raises:
        UserError: the folder holds a benchmark of something else.
    """
    checkpoint = settings["checkpoint"]
    digest = None if checkpoint is None else sha256(checkpoint)
    now = json.loads(json.dumps({**settings, "checkpoint_sha256": digest}))
    path = folder / "benchmark.json"
    files = file_digests(pairs)
    if not path.is_file():
        write_json(path, {**now, "files_sha256": files})
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    known = before.get("files_sha256", {})
    check_unchanged(folder, known, files, "hydra.run.dir")
    # The learned features may join a benchmark of the others later.
    joined = {"checkpoint", "checkpoint_sha256"} if before.get("checkpoint") is None else set()
    changed = [key for key in now if _fixed_part(before.get(key)) != _fixed_part(now[key]) and key not in joined]
    if not changed:
        write_json(path, {**now, "files_sha256": {**known, **files}})
    else:
        key = changed[0]
        raise UserError(
            f"{folder} holds a benchmark with {key}={before.get(key)}, not {now[key]}: name another hydra.run.dir"
        )


def file_digests(pairs: Sequence[Pair[ImageFiles]]) -> dict[str, str]:
    """Checksums of all files of some pairs, by path."""
    return {str(path): sha256(path) for pair in pairs for path in pair.files().values()}


def check_unchanged(folder: Path, before: Mapping[str, str], now: Mapping[str, str], option: str) -> None:
    """Check that what is on disk was computed from the files as they are.

    Raises:
        UserError: a file has changed since.
    """
    for path, digest in now.items():
        if before.get(path, digest) != digest:
            raise UserError(f"{folder} holds results of {path} as it was before it changed: name another {option}")


def _fixed_part(value: Any) -> Any:
    """A group without its number of pairs; ``tuning`` and ``report`` have one, and only the latter's is free."""
    if isinstance(value, Mapping) and set(value) == {"split", "pairs"}:
        return {"split": value["split"]}
    return value
