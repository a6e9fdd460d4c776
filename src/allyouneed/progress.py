"""Long work is told of: lines as they are; how far it is, a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


def say_on(console: Console, text: str) -> None:
    """A line as it is: rich would take [brackets] for markup and :names: for pictures, and fold what is long."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Until the block ends; what it gives is told how many are done, of how many."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console, what).tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


class _Lines:
    def __init__(self, console: Console, what: str):
        self._console, self._what = console, what
        self._begun = self._told = time.monotonic()

    def tell(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_LINES:
            return
        self._told = now
        left = int((of - done) * (now - self._begun) / max(1, done))
        say_on(self._console, f"{self._what} {done:,}/{of:,}  {left // 60}:{left % 60:02d} left")
