"""Loading a trained module."""

from __future__ import annotations

import pickle
from pathlib import Path

from mmreg_lightning.errors import UserError
from mmreg_lightning.module import DescentModule


def load_checkpoint(path: str | Path) -> DescentModule:
    """The module of a checkpoint, on the CPU, in evaluation mode.

    Nothing but tensors and plain types is unpickled (``weights_only=True``).

    Raises:
        UserError: there is no such file, or it is no checkpoint that this version of the package wrote.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--checkpoint {file}: there is no such file")
    try:
        module: DescentModule = DescentModule.load_from_checkpoint(
            file, map_location="cpu", weights_only=True
        )
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"--checkpoint {file}: damaged, or no checkpoint of mmreg-train") from error
    return module.eval()
