"""Many pairs by one command: a table of files in, a folder for each pair out; it goes on where it was stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mmreg_lightning.data.pair import FILE_NAMES, PARTS, ImageFiles, Pair
from mmreg_lightning.errors import NO_MEMORY, NO_ROOM, UserError, lacks_memory
from mmreg_lightning.files import ensure_output_dir, sha256, write_rows, write_text
from mmreg_lightning.registration.settings import Settings

SUMMARY = "summary.csv"
FAILED = ".failed.txt"
"""Ending of the file beside the pairs' folders that holds the traceback of a pair which failed."""
SERIES = ("fixed_series", "moving_series")
"""Columns of a table of pairs that hold the UID of a DICOM series."""
Pairs = Mapping[str, Pair[ImageFiles]]
"""Files of each pair, by the name of the folder that gets its results."""


def read_pairs(path: str | os.PathLike[str]) -> Pairs:
    """Read a table of pairs.

    Args:
        path: CSV with a header; columns ``fixed`` and ``moving``, and as wanted ``name`` and the others of
            ``FILE_NAMES`` and ``SERIES``. Relative paths are relative to the table's folder; an empty cell is no file.
            Without a name a pair is called by the file names of both images.

    Raises:
        UserError: the table cannot be read, has a column that is unknown or lacks one, names a file that does not
            exist, a name that is no folder's, or one twice.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is not a readable CSV file") from error
    unknown = [column for column in columns if column not in ("name", *FILE_NAMES, *SERIES)]
    missing = [column for column in ("fixed", "moving") if column not in columns]
    if unknown or missing:
        what = f"lacks the column {missing[0]}" if missing else f"has the unknown column {unknown[0]!r}"
        known = ", ".join(("name", *FILE_NAMES, *SERIES))
        raise UserError(f"{file} {what}; its first row must name columns among {known}")
    if not rows:
        raise UserError(f"{file} lists no pair")
    pairs: dict[str, Pair[ImageFiles]] = {}
    rows_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        name, pair = _pair(file, number, row)
        if name in pairs:
            raise UserError(
                f"{file}: rows {rows_of[name]} and {number} are both called {name!r}; give each pair a name in the "
                "column name"
            )
        pairs[name], rows_of[name] = pair, number
    return pairs


def read_shard(text: str) -> tuple[int, int]:
    """``K/N`` as ``--shard`` takes it: the K-th of N parts, counted from 1.

    Raises:
        UserError: it is no such thing.
    """
    part, _, whole = text.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise UserError(f"shard={text}: must be K/N, the K-th of N parts counted from 1, as 3/16")
    return int(part), int(whole)


def register_batch(
    pairs: Pairs,
    out: str | os.PathLike[str],
    register: Callable[[Pair[ImageFiles], Path], Sequence[str]],
    shard: tuple[int, int] = (1, 1),
    settings: Callable[[Pair[ImageFiles]], Settings] | None = None,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Register every pair of a shard whose results do not lie in ``out`` yet.

    A pair is computed in a hidden folder that takes the pair's name when it is complete: whatever stops the command, a
    folder with a name holds a whole result. A pair that fails, for whatever reason, is reported, and the next one is
    begun. The traceback of what is no ``UserError`` is written to ``NAME.failed.txt``.

    Args:
        pairs: of ``read_pairs`` or of a data set.
        out: folder of the results, one a pair, and of summary.csv.
        register: registers files into a folder and returns the notes of the result.
        shard: (K, N): every N-th pair from the K-th on.
        settings: of each pair; finished pairs must have been made with them and from the same files. None takes any.
        report: told one line a pair.

    Returns:
        Names of the pairs that failed.

    Raises:
        UserError: the output folder cannot be used, a pair's folder exists without results in it, or its results were
            made with other settings or from other files.
        OSError: there is no room left to write.
    """
    folder = ensure_output_dir(out)
    mine = list(pairs.items())[shard[0] - 1 :: shard[1]]
    digest = cache(sha256)  # of a checkpoint for many pairs once
    for name, files in mine:
        if (folder / name).exists() and not (folder / name / "metrics.json").is_file():
            raise UserError(f"out={folder}: {name} exists, but holds no results of a registration")
        if settings is not None and (folder / name / "run.yaml").is_file():
            _check_same(folder / name, files, settings(files), digest)
    failed = []
    for number, (name, files) in enumerate(mine, start=1):
        place = f"[{number}/{len(mine)}] {name}"
        if (folder / name).exists():
            report(f"{place}: finished before")
            continue
        partial = folder / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            notes = register(files, partial)
        except Exception as error:  # of one pair: the others have nothing to do with it
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise  # of all pairs
            failed.append(name)
            report(f"{place}: failed: {_reason(error, folder / f'{name}{FAILED}')}")
            continue
        os.replace(partial, folder / name)
        (folder / f"{name}{FAILED}").unlink(missing_ok=True)
        report("\n".join([f"{place}: done", *(f"    note: {note}" for note in notes)]))
    write_summary(pairs, folder)
    return failed


def _reason(error: Exception, log: Path) -> str:
    """Why a pair failed, one sentence; the traceback of what is no ``UserError`` goes to ``log``."""
    if isinstance(error, UserError):
        log.unlink(missing_ok=True)
        return str(error)
    write_text(log, "".join(traceback.format_exception(error)))
    if lacks_memory(error):
        return f"{NO_MEMORY} (see {log})"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} (see {log})"


def _check_same(folder: Path, files: Pair[ImageFiles], settings: Settings, digest: Callable[[Path], str]) -> None:
    run = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    # Without a spacing of its own every pair has that of its fixed image.
    wanted = {key: value for key, value in settings.describe().items() if value is not None}
    others = [key for key, value in wanted.items() if run["settings"].get(key) != value]
    if others:
        raise UserError(
            f"{folder} holds a registration with other settings ({', '.join(others)}): name another, or remove it"
        )
    finished = (folder / "metrics.json").stat().st_mtime
    had = run["inputs"]
    for role in ("fixed", "moving"):
        if had.get(role, {}).get("series") != files.series.get(role):
            raise UserError(f"{folder} holds a registration of another {role}_series: name another, or remove it")
    for name, path in {**files.files(), **settings.files()}.items():
        old = had.get(name)
        # Images are large: their content is looked at where path or time of change do not say enough.
        kept = old is not None and Path(old["path"]).resolve() == path.resolve() and _changed(path) < finished
        if not kept and (old is None or digest(path) != old["sha256"]):
            raise UserError(
                f"{folder} holds a registration whose {name} was not {path} as it is now: name another, or remove it"
            )


def _changed(path: Path) -> float:
    """Time of the last change of a file, or of a folder and all that is in it."""
    inner = path.rglob("*") if path.is_dir() else ()
    return max(part.stat().st_mtime for part in (path, *inner))


def write_summary(pairs: Pairs, folder: Path) -> None:
    """Write summary.csv: a row for each pair of all shards that is finished by now."""
    rows = []
    for name in pairs:
        path = folder / name / "metrics.json"
        if path.is_file():
            rows.append({"name": name, **_flat(json.loads(path.read_text(encoding="utf-8")))})
    if rows:
        write_rows(folder / SUMMARY, rows)


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            row[key] = value.get("mean", value.get("total"))
        else:
            row[key] = value
    return row


def _pair(table: Path, number: int, row: Mapping[str | None, Any]) -> tuple[str, Pair[ImageFiles]]:
    if None in row:
        raise UserError(f"{table}: row {number} has more cells than the header has columns")
    paths: dict[str, Path] = {}
    for column in FILE_NAMES:
        cell = (row.get(column) or "").strip()
        if not cell:
            if column in ("fixed", "moving"):
                raise UserError(f"{table}: row {number} names no {column} image")
            continue
        paths[column] = table.parent / Path(cell).expanduser()
        if not paths[column].exists():
            raise UserError(f"{table}: row {number}, column {column}: there is no file {paths[column]}")
    name = (row.get("name") or "").strip() or "_".join(_stem(paths[role]) for role in ("fixed", "moving"))
    if name != Path(name).name or name.startswith(".") or name == SUMMARY:
        raise UserError(f"{table}: row {number}: the name {name!r} is not one of a folder")
    images = [
        ImageFiles(
            paths[role],
            series=(row.get(f"{role}_series") or "").strip() or None,
            **{part: paths.get(f"{role}_{part}") for part in PARTS},  # type: ignore[arg-type]
        )
        for role in ("fixed", "moving")
    ]
    return name, Pair(*images)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
