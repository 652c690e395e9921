"""The configuration: the folder that holds it, and building objects from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmreg_lightning.errors import UserError

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Inside the package in a wheel, beside it in a checkout or an editable install.

Absolute, for ``@hydra.main(config_path=str(CONF_DIR))``; ``pkg://`` would not find it in a checkout.
"""
CACHE_DIR = Path(os.environ.get("MMREG_CACHE", "~/.cache/mmreg_lightning")).expanduser()
"""Where prepared images are kept, as ``data.cache_dir`` of the configuration."""


def instantiate(config: Any, **kwargs: Any) -> Any:
    """Build what ``_target_`` of a configuration names, with the rest of it and ``kwargs`` as arguments.

    Args:
        config: a DictConfig or dict with ``_target_``, nested ones included; None gives None.
        kwargs: further arguments of the outermost target, which win over those of the configuration.

    Raises:
        UserError: a target cannot be imported, a value cannot be resolved, or the target refuses its
            arguments; the sentence names the key or the target, and the cause.
    """
    import hydra
    from hydra.errors import InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return hydra.utils.instantiate(config, **kwargs)
    except InstantiationException as error:
        raise UserError(_sentence(error)) from error
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be read: {_one_line(error)}") from error


def _sentence(error: Exception) -> str:
    """One sentence from Hydra's message of several lines: what failed, why, and the configuration key."""
    lines = str(error).splitlines()
    what = lines[0].partition(", set env var")[0].rstrip(":")
    where = next((f" (configuration key {line[10:].strip()})" for line in lines if line.startswith("full_key:")), "")
    cause: BaseException | None = error.__cause__
    # This package's own checks name key and value; what another library raises needs its target beside it.
    if isinstance(cause, UserError) or (isinstance(cause, ValueError) and "mmreg_lightning" in what):
        return f"{_one_line(cause)}{where}"
    why = f": {type(cause).__name__}: {_one_line(cause)}" if cause is not None else ""
    return f"{what}{why}{where}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
