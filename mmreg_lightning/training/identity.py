"""What a training is: the checksum of its data, and which settings of two trainings differ in what they learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256

_WHOLE = 2**20
"""Files up to so many bytes are read whole."""
_END = 2**16
_FREE = (
    "output_dir",
    "ckpt_path",
    "init_from",
    "resume",
    "objective",
    "sweep",
    "logger",
    "callbacks",  # compared on their own
    "data.root",  # so are the data
    "data.maps",
    "data.sources.maps.folder",
    "data.cache_dir",
    "data.num_workers",
    *(
        f"trainer.{key}"
        for key in (
            *("max_steps", "max_epochs", "max_time", "min_steps", "min_epochs", "fast_dev_run", "accelerator"),
            *("log_every_n_steps", "num_sanity_val_steps", "check_val_every_n_epoch", "val_check_interval"),
            *("enable_model_summary", "enable_progress_bar", "enable_checkpointing", "profiler", "deterministic"),
        )
    ),
)
"""What a resumed training may change."""
_ONLOOKERS = (
    "ModelCheckpoint",
    "BestCheckpoint",
    "EarlyStopping",
    "EpochProgress",
    "RichProgressBar",
    "TQDMProgressBar",
    "PairPictures",
    "LearningRateMonitor",
    "DeviceStatsMonitor",
    "ModelSummary",
    "RichModelSummary",
    "Timer",
)
"""Callbacks that do not change what is learned."""


class Difference(NamedTuple):
    """A setting that two trainings do not share."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}={_shown(self.old)} (now {_shown(self.new)})"


def training_data(data: Mapping[str, Any]) -> tuple[str, str]:
    """Where the data of a training lie, and a checksum of them.

    Args:
        data: the group ``data`` of its configuration: with ``root``, a data set, or with ``maps``, folders of label
            maps (null has none, and all data are made from the configuration).
    """
    if "root" in data or "maps" not in data:
        root = str(data.get("root"))
        return root, data_identity(root)
    maps = data["maps"]
    folders = [] if maps is None else [maps] if isinstance(maps, str) else list(maps)
    return ", ".join(folders), maps_identity(folders)


def maps_identity(folders: Sequence[str | Path]) -> str:
    """A checksum of all label maps of folders, 64 hexadecimal digits; that of the complaint where there are none."""
    from mmreg_lightning.synthesis.folder_maps import label_files  # the report of a sweep does without torch

    digest = hashlib.sha256()
    try:
        for folder in folders:
            for file in label_files(folder):
                digest.update(_file_identity(file, Path(folder).expanduser()).encode())
    except (UserError, OSError) as error:
        digest.update(f"{type(error).__name__}: {error}".encode())
    return digest.hexdigest()


def data_identity(root: str | Path) -> str:
    """A checksum of a data set: its description, and every file that it lists.

    It is the same wherever the data lie and whenever they were copied. Of a large file its size and both ends are read:
    a compressed one ends with the checksum of its content; of one that is not compressed the time of its last change
    counts, too.

    Returns:
        64 hexadecimal digits; those of the complaint where the data cannot be read.
    """
    from mmreg_lightning.data.learn2reg import Learn2RegDataset  # the report of a sweep does without torch

    digest = hashlib.sha256()
    try:
        dataset = Learn2RegDataset.read(root)
        digest.update(dataset.description.read_bytes())
        listed = {files.image: files for pairs in dataset.pairs.values() for pair in pairs for files in pair}
        listed |= {files.image: files for files in dataset.train}
        for files in listed.values():
            for path in (files.image, files.labels, files.mask, files.landmarks):
                digest.update(b"-" if path is None else _file_identity(path, dataset.root).encode())
    except (UserError, OSError) as error:
        digest.update(f"{type(error).__name__}: {error}".encode())
    return digest.hexdigest()


def _file_identity(path: Path, root: Path) -> str:
    state = path.stat()
    facts: list[object] = [path.relative_to(root).as_posix(), state.st_size]
    if state.st_size <= _WHOLE:
        facts.append(sha256(path))
    else:
        with open(path, "rb") as stream:
            start = stream.read(_END)
            stream.seek(-_END, 2)
            facts.append(hashlib.sha256(start + stream.read()).hexdigest())
        if path.suffix != ".gz":
            facts.append(state.st_mtime_ns)
    return json.dumps(facts)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Settings of two resolved configurations that a training could not change half-way.

    What may differ: how long and where it runs, who listens, what is logged and drawn.
    """
    before, now = (dict(_leaves(_learning(settings))) for settings in (old, new))
    keys = [key for key in dict.fromkeys([*now, *before]) if not _is_free(key)]
    # A value that was not there and one that is null are the same to what is built from them.
    found = [Difference(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]
    return [each for each in found if not any(_includes(other, each) for other in found)]


def _includes(other: Difference, each: Difference) -> bool:
    """Whether a difference follows from another: of what another class is built, or of a value that is referred to."""
    parent, _, name = other.key.rpartition(".")
    if name == "_target_" and each.key != other.key and each.key.startswith(f"{parent}."):
        return True
    return each.key.endswith(f".{other.key}") and each[1:] == other[1:]


def _learning(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with those callbacks alone that may change what is learned, by a name that is not free."""
    callbacks = {
        f"callbacks: {name}": callback
        for name, callback in settings.get("callbacks", {}).items()
        if callback is not None and str(callback.get("_target_")).rpartition(".")[2] not in _ONLOOKERS
    }
    return {**settings, **callbacks}


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    else:
        yield where, node


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else str(value)
