"""What the commands that Hydra composes have in common."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmreg_lightning.cli._entry import run
from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EXTRAS = {
    "hydra/sweeper/optuna": "optuna",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_local": "sweep",
    "hydra/launcher/submitit_slurm": "sweep",
}
"""Which extra brings a plugin of Hydra's."""


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration with all references resolved, as plain types.

    Raises:
        UserError: a mandatory value is missing, or a reference leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        container: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(f"configuration: {_one_line(error)}") from error
    return container


def run_hydra(main: Callable[[], None], work: Callable[..., Any]) -> None:
    """Call a ``hydra.main``: its own complaints become one sentence and exit code 2, too.

    Args:
        main: the decorated function.
        work: what it calls; only errors outside it are Hydra's.
    """
    # Without it Hydra prints several lines and exits with 1 before its exceptions can be seen here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    run(lambda: _main_or_user_error(main, work))


def _main_or_user_error(main: Callable[[], None], work: Callable[..., Any]) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        message = _one_line(error)
        for plugin, extra in _EXTRAS.items():
            if f"Could not find '{plugin}'" in message:
                choice = "=".join(plugin.rsplit("/", 1))
                raise UserError(f"{choice} needs the extra {extra}: pip install 'mmreg-lightning[{extra}]'") from error
        raise UserError(f"configuration: {message}") from error
    except ValueError as error:
        # Optuna asks for the best trial in the end.
        if "No trials are completed yet" not in str(error):
            raise
        raise UserError("no training of the study finished; failure.txt in the folder of each says why") from error
    except OSError as error:
        # Hydra makes hydra.run.dir before the command can check it; what fails later is a defect.
        if any(frame.f_code is work.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        raise UserError(f"hydra.run.dir: cannot write {error.filename}: {error.strerror}") from error


def _one_line(error: BaseException) -> str:
    """The message in one line; Hydra wraps some errors into one that says nothing itself."""
    while not str(error) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
