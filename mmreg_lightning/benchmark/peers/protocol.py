"""What an adapter of another registration package offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Peer(Protocol):
    """Registers two image files and writes an ITK displacement field, as the package's users would.

    Attributes:
        package: name of the package in the registry, whose version is reported.
    """

    package: str

    def __call__(self, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int) -> None:
        """Register.

        Args:
            fixed, moving: NIfTI images.
            field: written as a vector NIfTI (intent 1007) on the fixed image's grid, LPS mm, fixed to moving.
            settings: of the adapter, see its docstring.
            threads: CPU threads to use.
        """
        ...
