"""What a run keeps in its folder, and the check that a folder does not mix results of different things."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256, write_json


def load(path: Path | None) -> Any:
    """Content of a JSON file; None where there is none."""
    return None if path is None or not path.is_file() else json.loads(path.read_text(encoding="utf-8"))


def save(path: Path | None, content: object) -> None:
    """Write a JSON file and create its folder; without a path do nothing."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def check_same(
    path: Path,
    settings: Mapping[str, Any],
    pairs: Sequence[Pair[ImageFiles]],
    option: str,
    joining: Collection[str] = (),
) -> None:
    """Note what the results in a folder are computed from, or compare with the note of an earlier run.

    More pairs may be added. The value ``{"split": ..., "pairs": ...}`` of a key stands for its split alone.

    Args:
        path: of the note, a JSON file in the folder.
        settings: what may not change.
        pairs: all that are registered; their files may not change either, nor what their labels mean.
        option: names the folder, for messages.
        joining: keys that may be set where they were null before.

    Raises:
        UserError: the folder holds results of something else.
    """
    now = json.loads(json.dumps(settings))
    files = {str(file): sha256(file) for pair in pairs for file in pair.files().values()}
    for own in (files for pair in pairs for files in pair):
        if str(own.labels) in files and own.labelling is not None and any(old != new for old, new in own.labelling.ids):
            files[str(own.labels)] += f", read by {own.labelling.ids}"
    another = f"name another {option}"
    before: dict[str, Any] = {}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        known = before.get("files_sha256", {})
        for file, digest in files.items():
            if known.get(file, digest) != digest:
                raise UserError(f"{path.parent} holds results of {file} as it was before it changed: {another}")
        for key, value in now.items():
            old = before.get(key)
            if _fixed_part(old) != _fixed_part(value) and not (key in joining and old is None):
                name, old, value = _difference(key, old, value)
                raise UserError(f"{path.parent} holds results with {name}={old}, not {value}: {another}")
        files = {**known, **files}
    elif (path.parent / "report.html").exists():
        raise UserError(f"{path.parent} holds report.html of another run: {another}")
    # What this run leaves out stays known: its results stay in the folder.
    write_json(path, {**before, **now, "files_sha256": files})


def _difference(name: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """The first entry in which two mappings differ, with its dotted name: a whole configuration is no message."""
    while isinstance(old, Mapping) and isinstance(new, Mapping):
        key = next((key for key in {**new, **old} if old.get(key) != new.get(key)), None)
        if key is None:  # one lacks a key that is null in the other
            break
        name, old, new = f"{name}.{key}", old.get(key), new.get(key)
    return name, old, new


def _fixed_part(value: Any) -> Any:
    return value["split"] if isinstance(value, Mapping) and set(value) == {"split", "pairs"} else value
