"""The progress bar of all commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
