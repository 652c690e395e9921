"""Where the configuration lives."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _conf_dir() -> Path:
    """Inside the package in a wheel, beside it in a checkout or an editable install."""
    shipped = _PACKAGE / "conf"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "conf"


CONF_DIR = _conf_dir()
"""Absolute, for ``@hydra.main(config_path=str(CONF_DIR))``; ``pkg://`` would not find it in a checkout."""

CACHE_DIR = Path(os.environ.get("MMREG_CACHE", "~/.cache/mmreg_lightning")).expanduser()
"""Where prepared images are kept, as ``data.cache_dir`` of the configuration."""
