"""What one training of a sweep leaves behind, and how it is recognised."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.pretrained import PRETRAINED, find_weights, shipped_weights
from mmreg_lightning.files import ensure_output_dir, sha256, write_json, write_text
from mmreg_lightning.training.identity import training_data

RESULT, FAILURE, IDENTITY = "result.json", "failure.txt", "identity.json"
RUN_ID = "wandb_run_id.txt"
"""Where a training whose W&B logger was on notes its run."""
_ASKED = ".runs"
"""Folder of a sweep with the identity that each set of overrides had when a multirun last asked for it."""
_FAILED = ".failed"
"""Folder of a sweep with a note of each training that failed since the multirun began."""
# Where results and caches lie, who listens and how a sweep goes on does not change what is learned.
_PLACES = ("output_dir", "ckpt_path", "init_from", "resume", "sweep", "logger", "callbacks")


@dataclass(frozen=True)
class RunIdentity:
    """What a folder notes when a training begins in it.

    Attributes:
        fingerprint: see ``fingerprint``.
        data: see ``training_data``.
        root: data set folder, as it was given.
        overrides: of the run, ``KEY=VALUE``.
    """

    fingerprint: str
    data: str
    root: str
    overrides: Sequence[str]


@dataclass(frozen=True)
class RunRecord:
    """A finished training.

    Attributes:
        fingerprint: of its resolved configuration and its data.
        overrides: as they were given, ``KEY=VALUE``.
        metrics: of the last validation.
        cases: of each validation pair there, ``{"case": name, "dice": x, ...}``.
        seconds: of the training, validation included.
        warnings: sentences about what should not be believed without a look.
    """

    fingerprint: str
    overrides: Sequence[str]
    metrics: Mapping[str, float]
    cases: Sequence[Mapping[str, Any]]
    seconds: float
    warnings: Sequence[str] = ()


def identify(settings: Mapping[str, Any], overrides: Sequence[str]) -> RunIdentity:
    """The identity of a training with this resolved configuration."""
    root, data = training_data(settings["data"])
    return RunIdentity(fingerprint(settings, data), data, root, list(overrides))


def fingerprint(settings: Mapping[str, Any], data: str | None = None) -> str:
    """A checksum of everything that decides what is learned: resolved configuration, data, weights to begin with.

    Args:
        settings: resolved configuration.
        data: see ``training_data``; None reads them.
    """
    kept = {key: value for key, value in settings.items() if key not in _PLACES}
    kept["data"] = {key: value for key, value in settings["data"].items() if key != "cache_dir"}
    kept["callbacks"] = sorted(
        json.dumps({k: v for k, v in callback.items() if k != "dirpath"}, sort_keys=True)
        for callback in settings["callbacks"].values()
        if callback is not None
    )
    files = training_data(settings["data"])[1] if data is None else data
    kept["files"] = [files, _begins_with(settings, "ckpt_path"), _begins_with(settings, "init_from")]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _begins_with(settings: Mapping[str, Any], key: str) -> str | None:
    """Checksum of another training's checkpoint or of shipped weights; None where there is none.

    Raises:
        UserError: no weights are shipped.
    """
    path = settings.get(key)
    if path is not None and path in (PRETRAINED, *shipped_weights()):
        return sha256(find_weights(path, key))
    # A run's own last checkpoint is a part of it.
    if path in (None, "last", "auto") or not Path(path).is_file():
        return path if path not in ("last", "auto") else None
    return None if Path(path).resolve().parent == Path(settings["output_dir"]).resolve() else sha256(path)


def is_first_process() -> bool:
    """Whether this is the first of several processes that share a training, or the only one; as Lightning knows it."""
    ranks = (os.environ.get(key) for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return int(next(filter(None, ranks), "0")) == 0


def write_record(record: RunRecord, folder: Path) -> None:
    """Write result.json; a failure noted earlier is over."""
    write_json(folder / RESULT, asdict(record))
    (folder / FAILURE).unlink(missing_ok=True)


def write_failure(folder: Path, message: str, sweep: Path) -> None:
    """Note why a training ended without a result, in its folder and in that of its sweep."""
    write_text(folder / FAILURE, message.rstrip() + "\n")
    note = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    write_text(ensure_output_dir(sweep / _FAILED) / note, str(folder))


def failures(sweep: Path) -> list[str]:
    """Folders of the trainings that failed since the multirun began."""
    notes = sweep / _FAILED
    return [path.read_text(encoding="utf-8") for path in sorted(notes.glob("[!.]*"))] if notes.is_dir() else []


def forget_failures(sweep: Path) -> None:
    """A new multirun begins."""
    shutil.rmtree(sweep / _FAILED, ignore_errors=True)


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None where the run has not finished."""
    path = folder / RESULT
    return RunRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_identity(identity: RunIdentity, folder: Path) -> None:
    """Note what is trained in a folder, whatever was trained there before."""
    write_json(folder / IDENTITY, asdict(identity))


def read_identity(folder: Path) -> RunIdentity | None:
    """What a folder notes of its training; None where it notes nothing."""
    path = folder / IDENTITY
    return RunIdentity(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def note_asked(sweep: Path, identity: RunIdentity) -> None:
    """Note that a multirun asks for a training, whether that is done now or was before."""
    name = hashlib.sha256("\n".join(sorted(identity.overrides)).encode()).hexdigest()[:16]
    write_json(ensure_output_dir(sweep / _ASKED) / f"{name}.json", {"time": time.time(), **asdict(identity)})


def read_asked(sweep: Path) -> list[RunIdentity]:
    """What multiruns asked for, the last one last."""
    notes = [json.loads(path.read_text(encoding="utf-8")) for path in (sweep / _ASKED).glob("[!.]*.json")]
    notes.sort(key=lambda note: float(note.pop("time")))
    return [RunIdentity(**note) for note in notes]


def claim_folder(sweep: Path, folder: Path, identity: RunIdentity) -> Path:
    """The folder for a run of a sweep: the one where the same training was begun, or a new one.

    Args:
        sweep: folder of the sweep.
        folder: of the run, as Hydra names it. Where it holds another training, that one is left alone, and the folder
            beside it, with digits of the run's checksum added to its name, is taken.
        identity: of the run; the folder notes it.
    """
    for path in sorted(sweep.rglob(IDENTITY)):
        known = read_identity(path.parent)
        if known is not None and known.fingerprint == identity.fingerprint:
            return path.parent
    for digits in (0, 6, 64):
        own = folder.with_name(f"{folder.name}-{identity.fingerprint[:digits]}") if digits else folder
        if _claim(ensure_output_dir(own), identity):
            if digits:
                print(f"{folder} holds a training with another configuration or other data: this one goes to {own}")
            return own
    raise UserError(f"{folder}: holds other trainings, name another hydra.sweep.dir")


def _claim(folder: Path, identity: RunIdentity) -> bool:
    """Whether the folder is this training's now; of two that ask at once one gets it."""
    if not (folder / IDENTITY).is_file():
        if (folder / RESULT).is_file() or (folder / "last.ckpt").is_file():  # of a version that noted no identity
            return False
        temporary = folder / f".{secrets.token_hex(4)}-{IDENTITY}"
        write_json(temporary, asdict(identity))
        try:
            os.link(temporary, folder / IDENTITY)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            write_identity(identity, folder)
        finally:
            temporary.unlink()
    known = read_identity(folder)
    return known is not None and known.fingerprint == identity.fingerprint


def run_id(folder: Path) -> str | None:
    """The W&B run of the training in this folder; None where the logger was off."""
    path = folder / RUN_ID
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
