"""What all commands share: how they end, and their progress bar."""

from __future__ import annotations

import argparse
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from mmreg_lightning.errors import NO_MEMORY, NO_ROOM, UserError, lacks_memory

Result = TypeVar("Result")


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

    A full disk and a full memory count as mistakes. Where nobody reads the output any more (``| head``), the command
    ends with 141 and without a word, as others do.

    Every other exception is a defect of this package and keeps its traceback.

    Args:
        main: the work.
        worded: changes the sentence of a mistake.

    Returns:
        What ``main`` returns.

    Raises:
        SystemExit: code 2 after ``UserError`` or where there is no room to compute or to write, code 130 after
            ``KeyboardInterrupt``, code 141 (128 and SIGPIPE) after the reader of the output has gone.
    """
    # OpenMP's threads otherwise spin while they wait: on a machine that others use too, each small operation then
    # lasts as long as a time slice of the scheduler (measured: 8 ms instead of 0.3 ms). It must be set before torch
    # is imported, and what the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        result = main()
        sys.stdout.flush()
        return result
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        sys.exit(141)
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


def _stdout_is_closed() -> bool:
    """Whether the reader of the output has gone; then what is left goes nowhere, also when Python ends."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always told
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


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
