"""The glue to Hydra: its complaints in one sentence, and nothing left of a command that is refused."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from mmreg_lightning.cli._app import Result, run
from mmreg_lightning.config import CONF_DIR, check_keys, one_line, unknown_key
from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from hydra.errors import MissingConfigException

_EXTRAS = {
    "hydra/sweeper/optuna": "optuna",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_local": "sweep",
    "hydra/launcher/submitit_slurm": "sweep",
}
"""Which extra brings a plugin of Hydra's."""


def run_hydra(main: Callable[[], object], config_name: str) -> None:
    """Call a ``hydra.main``: Hydra's own complaints become one sentence and exit code 2, too.

    Of a command that is refused nothing is left, see ``Leftovers``.

    Args:
        main: decorated by ``hydra.main``; its work is a ``run_job``.
        config_name: that of the decorator.
    """
    # Without it Hydra prints several lines and exits with 1 before its exceptions can be seen here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    _snapshots.clear()
    try:
        run(lambda: _main_or_user_error(main, config_name))
    except SystemExit as stop:
        if stop.code == 2:
            for snapshot in _snapshots:
                snapshot.restore()
        raise


def run_job(work: Callable[[], Result]) -> Result:
    """Call the work of one Hydra job, see ``run``; a job of a multirun that is refused leaves nothing.

    The exit is inside the job, because Hydra adds a line of its own to every exception that passes through it.
    """
    from hydra.conf import HydraConf
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    # The group env is Hydra's own, but not of its schema.
    known = dataclasses.make_dataclass("HydraKeys", [("env", Any, dataclasses.field(default=None))], bases=(HydraConf,))

    def checked() -> Result:
        # What has a '+' Hydra takes without a look.
        check_keys(OmegaConf.to_container(hydra), known, "hydra")
        return work()

    try:
        return run(checked)
    except SystemExit as stop:
        if stop.code == 2 and hydra.mode == RunMode.MULTIRUN:
            folder = Path(hydra.runtime.output_dir)
            own = _hydras_own(folder, hydra)
            if set(own).issuperset(_files(folder)):
                _remove(own, folder, [folder])
        raise


class Leftovers(Callback):
    """Hydra's callback that notes what is in the output folder before Hydra writes to it.

    A command that ends with exit code 2, and wrote nothing but what Hydra writes for it, was refused: its folder is
    then as it was before, which is none where it was none.
    """

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before it makes the folder of a single run."""
        folder = Path(config.hydra.run.dir)
        _snapshots.append(_Snapshot(folder, _hydras_own(folder, config.hydra)))

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before it makes the folder of a multirun."""
        folder = Path(config.hydra.sweep.dir)
        _snapshots.append(_Snapshot(folder, [folder / "multirun.yaml"]))


class _Snapshot:
    """What a folder holds, with the content of those files that Hydra writes."""

    def __init__(self, folder: Path, own: list[Path]) -> None:
        self.folder = folder
        self.own = own
        self.others = self._others()
        self.content = {path: path.read_bytes() for path in own if path.is_file()}
        self.new_folders = [path for path in (folder, *folder.parents, own[0].parent) if not path.exists()]

    def restore(self) -> None:
        """Make it so again, unless anything but what Hydra writes is new or has changed."""
        if self._others() != self.others:
            return
        for path, content in self.content.items():
            path.write_bytes(content)
        _remove([path for path in self.own if path not in self.content], self.folder, self.new_folders)

    def _others(self) -> dict[Path, int]:
        """When each entry of the folder that is none of Hydra's was last changed."""
        own = {*self.own, *(path.parent for path in self.own)}
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        return {path: path.stat().st_mtime_ns for path in entries if path not in own and path.exists()}


_snapshots: list[_Snapshot] = []
"""Of the command that runs."""


def _hydras_own(folder: Path, hydra: Any) -> list[Path]:
    """The files that Hydra writes into the folder of a job."""
    notes = [folder / str(hydra.output_subdir or "") / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    return [*(notes if hydra.output_subdir else []), folder / f"{hydra.job.name}.log"]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def _remove(files: list[Path], folder: Path, folders: list[Path]) -> None:
    """Remove files below a folder, then those of their folders and of some others that are empty, the deepest first."""
    for path in files:
        path.unlink(missing_ok=True)
    inside = {path.parent for path in files} - {folder}
    for path in sorted({*inside, *folders}, key=lambda path: len(path.parts), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _main_or_user_error(main: Callable[[], object], config_name: str) -> object:
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    while True:
        try:
            return main()
        except MissingConfigException as error:
            raise _no_such_choice(error) from error
        except (HydraException, OmegaConfBaseException) as error:
            # A key that the configuration lacks may be known all the same, as arguments of a class are: the command
            # looks at each, so Hydra must not.
            if not _added(str(error)):
                raise _slip(error, config_name) from error
        except ValueError as error:
            # Optuna asks for the best trial in the end.
            if "No trials are completed yet" not in str(error):
                raise
            raise UserError("no training of the study finished; failure.txt in the folder of each says why") from error
        except OSError as error:
            # Hydra makes hydra.run.dir before the command can check it; what fails later is a defect.
            work = inspect.unwrap(main).__code__
            if any(frame.f_code is work for frame, _ in traceback.walk_tb(error.__traceback__)):
                raise
            raise UserError(f"hydra.run.dir: cannot write {error.filename or 'to it'}: {error.strerror}") from error


def _added(message: str) -> bool:
    """Whether an override of the command line that Hydra refuses for want of a ``+`` has one now."""
    found = re.match(r"Could not override '(?!hydra\.)([^'/@]+)'\.\s+To append to your config", message)
    for index, word in enumerate(sys.argv):
        if found and index and word.partition("=")[0] == found[1]:
            sys.argv[index] = f"++{word}"
            return True
    return False


def _no_such_choice(error: MissingConfigException) -> UserError:
    """Of a group's option that there is not."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if extra := _EXTRAS.get(f"{group}/{name}"):
        return UserError(f"{group}={name} needs the extra {extra}: pip install 'mmreg-lightning[{extra}]'")
    # Hydra does not list the options of a list of choices, as of callbacks=[default,ema].
    options = error.options or [path.stem for path in (CONF_DIR / group).glob("*.yaml")]
    if not group or not options:
        return UserError(f"configuration: {one_line(error)}")
    near = difflib.get_close_matches(name, options, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return UserError(f"{group}={name}: there is no such choice, known are {', '.join(sorted(options))}{meant}")


def _slip(error: Exception, config_name: str) -> UserError:
    """One sentence of a complaint of Hydra's, with the nearest key where one is unknown."""
    from omegaconf.errors import OmegaConfBaseException

    message = one_line(error)
    if found := re.match(r"Could not append to config\. An item is already at '(.+?)'", message):
        return UserError(f"{found[1]}: is in the configuration already, set it without '+'")
    if message.startswith("Could not override 'hydra."):
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.full_key:
            return unknown_key(cause.full_key, [str(known) for known in cause.parent_node])
    elif found := re.match(r"Could not (?:delete from config\. |delete\. |override )'(.+?)'", message):
        return _nearest(found[1], config_name)
    return UserError(f"configuration: {message}")


def _nearest(key: str, config_name: str) -> UserError:
    """Of a key or group that the shipped configuration lacks."""
    from hydra import compose, initialize_config_dir

    groups = sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir())
    if re.search("[/@]", key):
        if "@" in key and re.split("[/@]", key)[0] in groups:
            return UserError(f"{key}: is not among the chosen files, +{key}=NAME adds one")
        return unknown_key(key, groups)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node: Any = compose(config_name)
    whole: list[str] = []
    for part in key.split("."):
        known = [str(own) for own in node] if hasattr(node, "keys") and node is not None else []
        whole.append(part)
        if part not in known:
            return unknown_key(".".join(whole), known or [part])
        node = node.get(part)
    return UserError(f"{key}: cannot be left out")
