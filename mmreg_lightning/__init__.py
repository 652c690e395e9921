"""Deformable CT/MR registration by supervised iterative descent on learned multi-modal features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmreg_lightning.registration.api import register

__version__ = "0.1.0"
__all__ = ["__version__", "register"]


def __getattr__(name: str) -> Any:
    """``register``, imported when it is asked for: commands that only print their help must not wait for torch."""
    if name == "register":
        from mmreg_lightning.registration.api import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
