"""Deformable CT/MR registration by supervised iterative descent on learned multi-modal features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmreg_lightning.data.pair import Image, Pair
    from mmreg_lightning.errors import UserError
    from mmreg_lightning.features.checkpoint import load_checkpoint as load
    from mmreg_lightning.registration.register import register
    from mmreg_lightning.registration.result import Result

__version__ = "0.1.0"
__all__ = ["Image", "Pair", "Result", "UserError", "__version__", "load", "register"]
_HOMES = {
    "Image": ("data.pair", "Image"),
    "Pair": ("data.pair", "Pair"),
    "Result": ("registration.result", "Result"),
    "UserError": ("errors", "UserError"),
    "load": ("features.checkpoint", "load_checkpoint"),
    "register": ("registration.register", "register"),
}


def __getattr__(name: str) -> Any:
    """Public names, imported when they are asked for: commands that only print their help must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
