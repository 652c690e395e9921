"""The one exception that stands for a mistake of the user's making, and the checks of single values."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: a file, option or configuration value that cannot be used.

    The message is one sentence that names the file or option and its value. The command line prints it to
    standard error without a traceback and exits with code 2 (``mmreg_lightning.cli._app``).
    """


def non_negative(name: str, value: object) -> float:
    """The value of a numeric option.

    Raises:
        UserError: it is no number, or below 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise UserError(f"{name}={value}: must be a number, 0 or more")
    return float(value)


def positive_int(name: str, value: object) -> int:
    """The value of an option that counts something.

    Raises:
        UserError: it is no whole number, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name}={value}: must be a whole number, 1 or more")
    return value
