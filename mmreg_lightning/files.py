"""Output folders, and atomic writing of result files: an interrupted command leaves no partial file."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from mmreg_lightning.errors import NO_ROOM, UserError

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Names the process that uses a folder, see ``folder_lock``."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that replaces ``path`` when the block succeeds.

    The temporary name ends with the name of ``path``, so the format by suffix is kept. When the block raises, the
    temporary file is removed and an existing ``path`` is not changed.

    Raises:
        UserError: there is no room on the disk.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(4)}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise UserError(f"cannot write {target}: {error.strerror}") from error
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
        # os.access is wrong on network shares and for root.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to the output folder {folder}: {error.strerror}") from error
    return folder


_held: set[TextIO] = set()


def _let_go() -> None:
    for stream in _held:
        stream.close()


# Otherwise a loader process would hold on to the locks of a training that was killed.
os.register_at_fork(after_in_child=_let_go)


@contextmanager
def folder_lock(path: str | os.PathLike[str], wait: bool = False) -> Iterator[Path]:
    """Yield ``ensure_output_dir(path)``, which nobody else may lock until the block ends.

    The file ``.lock`` in it names process and host. The lock itself is the system's, which lets go of it when the
    process ends in whatever way: the file of one that was killed is taken over. A folder that did not exist and in
    which nothing was written is removed again.

    Args:
        path: the folder.
        wait: where another process holds it, say so and wait until that ends.

    Raises:
        UserError: the folder cannot be written, or another process holds it and ``wait`` is False.
    """
    existed = Path(path).exists()
    folder = ensure_output_dir(path)
    file = folder / LOCK
    with _locked(file, folder, wait) as stream:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        _held.add(stream)
        try:
            yield folder
        finally:
            _held.discard(stream)
            file.unlink(missing_ok=True)
            if not existed:
                with suppress(OSError):  # not empty
                    folder.rmdir()


def _locked(file: Path, folder: Path, wait: bool) -> TextIO:
    """The file, opened and locked."""
    told = False
    while True:
        try:
            stream = open(file, "a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}") from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if told else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed the file between the two lines above.
            if file.is_file() and os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                return stream
            stream.close()
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            stream.close()
            if not wait:
                sentence = f"{folder} is in use by {holder}: name another folder, or wait until that ends"
                raise UserError(sentence) from error
            print(f"waiting for {holder}, which uses {folder}")
            told = True
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                stream.close()
                raise
            log.warning("%s cannot be locked (%s): nothing keeps others from using it", folder, error.strerror)
            return stream


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, or of the files in a folder and the folders in it, in the order of their paths."""
    digest = hashlib.sha256()
    file = Path(path)
    for name in sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]:
        with open(name, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def new_output_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield ``ensure_output_dir(path)``; when the block raises, a new folder that is empty is removed.

    Raises:
        UserError: the folder cannot be created, is a file, or is not writable.
    """
    existed = Path(path).exists()
    folder = ensure_output_dir(path)
    try:
        yield folder
    except BaseException:
        if not existed:
            with suppress(OSError):  # not empty
                folder.rmdir()
        raise


def check_free(folder: str | os.PathLike[str], outputs: Sequence[str], overwrite: bool) -> None:
    """Check that a run may write its outputs to a folder.

    Args:
        folder: folder, which need not exist.
        outputs: names of all files and folders that a run can write, in the order of writing.
        overwrite: existing outputs may be overwritten.

    Raises:
        UserError: the folder holds an output, and ``overwrite`` is False.
    """
    existing = [name for name in outputs if (Path(folder) / name).exists()]
    if existing and not overwrite:
        run = "an earlier run already" if outputs[-1] in existing else "a run that did not finish"
        raise UserError(f"out={folder}: holds {existing[0]} of {run}, name another folder or add overwrite=True")


def remove_outputs(folder: Path, outputs: Sequence[str]) -> None:
    """Remove the outputs of an earlier run, see ``check_free``, and temporary files of an interrupted one.

    The last output is removed first, so an interrupted removal does not look like a complete run.
    """
    for name in reversed(outputs):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            for old in (path, *folder.glob(f".????????-{name}")):  # temporary names of ``atomic_path``
                old.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically, with the columns of all rows in the order of their first occurrence."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write ``obj`` as indented JSON, atomically; NaN and infinities are written as null.

    Raises:
        TypeError: ``obj`` holds values that JSON does not have.
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
