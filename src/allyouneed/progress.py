"""Progress reporting: a bar on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from allyouneed.interruption import ignoring_closed_terminal

_SECONDS_BETWEEN_LINES = 10.0
_ITEMS_BETWEEN_TIMES = 1000
Item = TypeVar("Item")


def print_line(console: Console, text: str) -> None:
    """Print a line verbatim: no rich markup, no emoji codes, no wrapping; a terminal that was closed is ignored."""
    with ignoring_closed_terminal():
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def time_left(seconds: float) -> str:
    """Format an estimate of the remaining time.

    Args:
        seconds: Remaining time in seconds; fractions are dropped.

    Returns:
        Minutes and seconds, for example "75:04 left".
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} left"


@contextmanager
def track_progress(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    """Report the progress of a task while the block runs.

    Args:
        console: Where to report: a bar if it is a terminal, else one line every 10 seconds.
        description: Label of the task.

    Yields:
        A function `update(done, total)`, which the task calls after each item.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console, description).update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines:
    """Progress reported as lines of text."""

    def __init__(self, console: Console, description: str):
        self._console, self._description = console, description
        self._start = self._last_line = time.monotonic()

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        seconds = (total - done) * (now - self._start) / max(1, done)
        print_line(self._console, f"{self._description} {done:,}/{total:,}  {time_left(seconds)}")


class RateLines:
    """Progress of a pass over many items: a line every 10 seconds, with the rate and the time left.

    Args:
        say: Receives the lines.
        description: Label of the task.
        total: Number of items; 0 if unknown.
        unit: What the items are, in the plural.
    """

    def __init__(self, say: Callable[[str], None], description: str, total: int, unit: str):
        self._say, self._description, self._total, self._unit = say, description, total, unit
        self._start = self._last_line = time.monotonic()
        self._done = 0

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items and count them, after those counted before."""
        for item in items:
            yield item
            self._done += 1
            if self._done % _ITEMS_BETWEEN_TIMES == 0:
                self._report()

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        rate = self._done / (now - self._start)
        of, left = "", ""
        if self._total:
            of, left = f"/{self._total:,}", f", {time_left(max(0, self._total - self._done) / rate)}"
        self._say(f"{self._description}: {self._done:,}{of} {self._unit}, {rate:,.0f} {self._unit}/s{left}")
