"""Writing of result files: all or nothing, so that an interrupted command leaves no half-written file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmreg_lightning.errors import UserError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that replaces ``path`` when the block succeeds.

    The temporary name ends with the whole name of ``path``: writers that choose a format by suffix
    (``.nii.gz``) work unchanged. When the block raises, the temporary file is removed and an older ``path``
    stays as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(4)}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def ensure_output_dir(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path`` with its parents and check that files can be written there.

    Raises:
        UserError: the folder cannot be created, is a file, or is not writable.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # os.access does not tell the truth on network shares and for root: try it.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    return folder


def sha256(path: str | os.PathLike[str]) -> str:
    """Checksum of a file's content, in hexadecimal digits; of a folder, of its files' contents in order of names."""
    digest = hashlib.sha256()
    file = Path(path)
    for name in sorted(p for p in file.iterdir() if p.is_file()) if file.is_dir() else [file]:
        with open(name, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def new_output_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield ``ensure_output_dir(path)``; when the block raises, a folder that it made and that is empty is removed.

    Raises:
        UserError: see ``ensure_output_dir``.
    """
    existed = Path(path).exists()
    folder = ensure_output_dir(path)
    try:
        yield folder
    except BaseException:
        if not existed:
            with suppress(OSError):  # not empty: what was written is for the caller to judge
                folder.rmdir()
        raise


def check_free(folder: str | os.PathLike[str], outputs: Sequence[str], overwrite: bool) -> None:
    """Check that a folder holds no results that would be lost.

    Args:
        folder: need not exist.
        outputs: names of all files and folders that a run can leave there, the one that is written last at the end.
        overwrite: they may be.

    Raises:
        UserError: it does, and ``overwrite`` is False.
    """
    existing = [name for name in outputs if (Path(folder) / name).exists()]
    if existing and not overwrite:
        run = "an earlier run already" if outputs[-1] in existing else "a run that did not finish"
        raise UserError(f"--out {folder} holds {existing[0]} of {run}: name another folder or add --overwrite")


def remove_outputs(folder: Path, outputs: Sequence[str]) -> None:
    """Remove what an earlier run has left, see ``check_free``, and what a killed one was writing.

    From the last one on: stopped half-way, what is left does not look complete.
    """
    for name in reversed(outputs):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            for old in (path, *folder.glob(f".????????-{name}")):  # the second: of ``atomic_path``
                old.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; the columns are those of all rows, in the order in which they appear."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write ``obj`` as indented JSON, atomically; NaN and infinities, which JSON lacks, are written as null.

    Raises:
        TypeError: ``obj`` holds something other than dict, list, tuple, str, numbers, bool and None.
    """
    write_text(path, json.dumps(_without_nan(obj), indent=2, allow_nan=False) + "\n")


def _without_nan(obj: object) -> Any:
    if isinstance(obj, Mapping):
        return {key: _without_nan(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_without_nan(value) for value in obj]
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj
