"""A training that is refused before its first step leaves its folder as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmreg_lightning.errors import UserError

_NOTES = ("config.yaml", "hparams.yaml", "identity.json", "metrics.csv", "wandb_run_id.txt")
"""What a training writes before its first step, besides the folder of W&B."""


@contextmanager
def as_it_was(folder: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """In the block, a ``UserError`` undoes what a training wrote into its folder, unless it has begun.

    A log of metrics that was put aside is put back.

    Args:
        folder: of the training.
        has_begun: whether a step has been taken.
    """
    notes = [folder / name for name in _NOTES]
    before = {path: (path.read_bytes(), path.stat()) for path in notes if path.is_file()}
    logs, tracked = set(_put_aside(folder)), (folder / "wandb").exists()
    try:
        yield
    except UserError:
        if not has_begun():
            for path in notes:
                path.unlink(missing_ok=True)
            for path, (content, state) in before.items():
                path.write_bytes(content)
                os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
            for path in set(_put_aside(folder)) - logs:
                path.unlink()
            if not tracked:
                shutil.rmtree(folder / "wandb", ignore_errors=True)
        raise


def _put_aside(folder: Path) -> Iterator[Path]:
    return folder.glob("metrics_before_*.csv")
