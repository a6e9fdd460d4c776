"""Model threads: each has a worker, and makes another one when it fails, after increasing delays."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """Processes batches in one model thread."""

    def work(self, key: Any, payloads: Sequence[Any]) -> list[Any]:
        """Return one result per payload, in order.

        Raises:
            WorkerDiedError: If the worker must be replaced; its batch is answered with 503.
            Exception: If the batch failed; its payloads are then tried one by one.
        """


class WorkerDiedError(Exception):
    """Raised by a worker that cannot process anything any more, so that its thread makes another one."""


@dataclass(frozen=True)
class Backoff:
    """Delays between attempts to make a worker.

    Attributes:
        first_seconds: Delay after the first failure; each further one doubles it.
        most_seconds: Longest delay.
        give_up_seconds: Time without any worker after which the server should be restarted.
    """

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    give_up_seconds: float = 60.0


class ModelThreads:
    """A fixed number of threads that run `serve(worker)`.

    If `serve` raises an exception, the thread makes another worker immediately. If a worker cannot be made, the thread
    tries again later.

    Args:
        make_worker: Called in each thread.
        serve: Called in each thread with its worker; returns when the server shuts down.
        number: Number of threads.
        backoff: Delays between attempts to make a worker.
        on_outage: Called when no thread has a worker, or is making its first attempt.
    """

    def __init__(
        self,
        make_worker: Callable[[], Worker],
        serve: Callable[[Worker], None],
        number: int,
        backoff: Backoff,
        on_outage: Callable[[], None],
    ):
        self._make_worker, self._serve, self._on_outage = make_worker, serve, on_outage
        self._number, self._backoff = number, backoff
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._working: set[int] = set()  # threads with a worker, by index
        self._retry_times: dict[int, float] = {}  # of threads that failed to make one
        self._outage_began = math.inf
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        for index in range(self._number):
            thread = threading.Thread(target=self._run, args=(index,), name=f"model-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait_until_ready(self) -> None:
        """Block until a thread has a worker, or all have failed to make one."""
        with self._changed:
            self._changed.wait_for(lambda: self._working or self.in_outage)

    @property
    def ready(self) -> bool:
        """Whether a thread has a worker."""
        return bool(self._working)

    @property
    def in_outage(self) -> bool:
        """Whether all threads have failed to make a worker."""
        return len(self._retry_times) == self._number

    @property
    def has_given_up(self) -> bool:
        """Whether the outage has lasted so long that the server should be restarted."""
        return time.monotonic() - self._outage_began >= self._backoff.give_up_seconds

    @property
    def retry_after(self) -> int:
        """Seconds until the next attempt to make a worker, at least 1."""
        times = list(self._retry_times.values())
        return max(1, math.ceil(min(times, default=0.0) - time.monotonic()))

    @property
    def have_ended(self) -> bool:
        """Whether no thread is running."""
        return not any(thread.is_alive() for thread in self._threads)

    def close(self, seconds: float) -> bool:
        """Make no more workers, and wait until `serve` has returned in all threads, at most `seconds`.

        Returns:
            Whether all threads have ended; the others are daemon threads.
        """
        self._closing.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self.have_ended

    def _run(self, index: int) -> None:
        delay = 0.0
        while delay == 0 or not self._closing.wait(delay):
            try:
                worker = self._make_worker()
            except BaseException:  # also SystemExit
                delay = min(max(2 * delay, self._backoff.first_seconds), self._backoff.most_seconds)
                _log.exception("a model thread cannot start; next attempt in %g seconds", delay)
                self._report_failure(index, delay)
                continue
            delay = 0.0
            self._report_worker(index)
            try:
                return self._serve(worker)
            except BaseException:
                _log.exception("a model thread failed; it starts again")
            finally:
                with self._changed:
                    self._working.discard(index)

    def _report_worker(self, index: int) -> None:
        with self._changed:
            self._working.add(index)
            self._retry_times.pop(index, None)
            self._outage_began = math.inf
            self._changed.notify_all()

    def _report_failure(self, index: int, delay: float) -> None:
        with self._changed:
            self._retry_times[index] = time.monotonic() + delay
            if self.in_outage:
                self._outage_began = min(self._outage_began, time.monotonic())
            self._changed.notify_all()
            in_outage = self.in_outage
        if in_outage:
            self._on_outage()
