"""The exception for mistakes of the user, and checks of single values."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of what a user can mend, although it is found out while results are written."""


class UserError(ValueError):
    """Bad input: a file, option or configuration value that cannot be used.

    The message is one sentence that names the file or option and its value. The command line prints it to
    standard error without a traceback and exits with code 2 (``mmreg_lightning.cli._app``).
    """


NO_MEMORY = "there is not enough memory: a larger spacing, cropped images or smaller patches need less"
"""What to do about an error that ``lacks_memory`` knows."""
_NO_MEMORY_WORDS = ("not enough memory", "out of memory", "allocate memory")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error is that of an allocator: NumPy's, or PyTorch's on the CPU or a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY_WORDS)
    )


def non_negative(name: str, value: object) -> float:
    """The value of a numeric option, as a float.

    Raises:
        UserError: the value is not a number, or is below 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise UserError(f"{name}={value}: must be a number, 0 or more")
    return float(value)


def positive_int(name: str, value: object) -> int:
    """The value of an option that is a count.

    Raises:
        UserError: the value is not a whole number, or is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name}={value}: must be a whole number, 1 or more")
    return value


def non_negative_int(name: str, value: object) -> int:
    """The value of an option that is a count and may be 0.

    Raises:
        UserError: the value is not a whole number, or is below 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{name}={value}: must be a whole number, 0 or more")
    return value


def check_spacing(name: str, value: object) -> None:
    """Check the spacing of a grid: one side of a voxel in mm for all axes, or three.

    Raises:
        UserError: the value is neither, or a side is not positive or not finite.
    """
    sides = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 3
    if len(sides) != 3 or not all(isinstance(side, int | float) and 0 < side < math.inf for side in sides):
        raise UserError(f"{name}={value}: must be a positive number of millimetres, or three")
