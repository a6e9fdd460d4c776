"""A stopwatch for a budget of minutes, which can be paused for work that does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Now: TypeAlias = Callable[[], float]  # seconds of a monotonic clock


class Stopwatch:
    """Measures wall-clock time from its construction, without pauses.

    Args:
        now: A monotonic clock in seconds. The default does not count the time that the system was suspended.
    """

    def __init__(self, now: Now = time.monotonic):
        self.now = now
        self._started, self._paused = now(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds since construction, without pauses."""
        return self.now() - self._started - self._paused

    def now_running(self) -> float:
        """Return the time of a clock that stands still while the stopwatch is paused."""
        return self.seconds

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the time of the block."""
        begin = self.now()
        try:
            yield
        finally:
            self._paused += self.now() - begin
