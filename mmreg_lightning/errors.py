"""The one exception that stands for a mistake of the user's making."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: a file, option or configuration value that cannot be used.

    The message is one sentence that names the file or option and its value. The command line prints it to
    standard error without a traceback and exits with code 2 (``mmreg_lightning.cli._entry``).
    """
