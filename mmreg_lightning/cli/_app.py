"""What all commands share: how they end, their progress bar, and the glue to Hydra."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from mmreg_lightning.config import one_line
from mmreg_lightning.errors import NO_MEMORY, NO_ROOM, UserError, lacks_memory

Result = TypeVar("Result")
_EXTRAS = {
    "hydra/sweeper/optuna": "optuna",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_local": "sweep",
    "hydra/launcher/submitit_slurm": "sweep",
}
"""Which extra brings a plugin of Hydra's."""


def entry_point(
    main: Callable[[Sequence[str] | None], object], build_parser: Callable[[], argparse.ArgumentParser]
) -> Callable[[], None]:
    """The console script of a command.

    Args:
        main: does what the arguments say.
        build_parser: its parser, by which messages that name parameters name options instead.
    """

    def entry() -> None:
        run(lambda: main(None), lambda message: name_options(message, build_parser()))

    return entry


def name_options(message: str, parser: argparse.ArgumentParser) -> str:
    """A sentence of the library, which names parameters (``spacing=-1``), with the options of a command in their place.

    Args:
        message: the sentence.
        parser: of the command; ``overwrite=True`` becomes ``--overwrite`` where that is an option without a value.
    """
    for action in parser._actions:
        if action.option_strings:
            value = "True" if action.nargs == 0 else ""
            option = action.option_strings[-1] + ("" if value else " ")
            message = re.sub(rf"(?<![\w.-]){action.dest}={value}", option, message)
    return message


def run(main: Callable[[], Result], worded: Callable[[str], str] = str) -> Result:
    """Call ``main``; exit with 2 and one line on stderr after a mistake, with 130 after Ctrl-C.

    A full disk and a full memory count as mistakes.

    Every other exception is a defect of this package and keeps its traceback.

    Args:
        main: the work.
        worded: changes the sentence of a mistake.

    Returns:
        What ``main`` returns.

    Raises:
        SystemExit: code 2 after ``UserError`` or where there is no room to compute or to write, code 130 after
            ``KeyboardInterrupt``.
    """
    # OpenMP's threads otherwise spin while they wait: on a machine that others use too, each small operation then
    # lasts as long as a time slice of the scheduler (measured: 8 ms instead of 0.3 ms). It must be set before torch
    # is imported, and what the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return main()
    except UserError as error:
        print(f"error: {worded(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        print(f"error: cannot write {error.filename or 'the results'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        print(f"error: {NO_MEMORY} ({' '.join(str(error).split())[:200]})", file=sys.stderr)
        sys.exit(2)


@contextmanager
def progress_bar(*tasks: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each task, gone at the end; nothing where stderr is no terminal.

    Args:
        tasks: what the bars are called, at least one.

    Yields:
        A function of (what, done, in all): progress of the task of this name, or of the first one, which is called so
        from then on.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        known = {name: bar.add_task(name, total=None) for name in tasks}
        first = known[tasks[0]]

        def update(what: str, done: int, total: int) -> None:
            bar.update(known.get(what, first), description=what, completed=done, total=total)

        yield update


def run_hydra(main: Callable[[], None]) -> None:
    """Call a ``hydra.main``: its own complaints become one sentence and exit code 2, too."""
    # Without it Hydra prints several lines and exits with 1 before its exceptions can be seen here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    run(lambda: _main_or_user_error(main))


def _main_or_user_error(main: Callable[[], None]) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        message = one_line(error)
        for plugin, extra in _EXTRAS.items():
            if f"Could not find '{plugin}'" in message:
                choice = "=".join(plugin.rsplit("/", 1))
                raise UserError(f"{choice} needs the extra {extra}: pip install 'mmreg-lightning[{extra}]'") from error
        raise UserError(f"configuration: {message}") from error
    except ValueError as error:
        # Optuna asks for the best trial in the end.
        if "No trials are completed yet" not in str(error):
            raise
        raise UserError("no training of the study finished; failure.txt in the folder of each says why") from error
    except OSError as error:
        # Hydra makes hydra.run.dir before the command can check it; what fails later is a defect.
        work = inspect.unwrap(main).__code__
        if any(frame.f_code is work for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        raise UserError(f"hydra.run.dir: cannot write {error.filename}: {error.strerror}") from error
