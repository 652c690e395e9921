"""How every command ends: the one place that turns exceptions into exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from mmreg_lightning.errors import UserError

Result = TypeVar("Result")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a user can mend, although it is found out while results are written."""


def run(main: Callable[[], Result]) -> Result:
    """Call ``main``; exit with 2 and one line on stderr after a mistake or on a full disk, with 130 after Ctrl-C.

    Every other exception is a defect of this package and keeps its traceback.

    Returns:
        What ``main`` returns.

    Raises:
        SystemExit: code 2 after ``UserError`` or where there is no room to write, code 130 after ``KeyboardInterrupt``.
    """
    # OpenMP's threads otherwise spin while they wait: on a machine that others use too, each small operation then
    # lasts as long as a time slice of the scheduler (measured: 8 ms instead of 0.3 ms). It must be set before torch
    # is imported, and what the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        print(f"error: cannot write {error.filename or 'the results'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
