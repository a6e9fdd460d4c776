"""Threads for work around the models that would block the event loop: reading files, splitting text, parsing markup.

Work is shared fairly between clients, has a time limit, and stops with its client (see `translation/stopping.py`). Work
that does not stop in time is abandoned to its thread, and another thread takes its place; the threads are daemon
threads, so that the process can end nevertheless.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.fair_queue import FairQueue, Submission, current_client
from allyouneed.translation.stopping import stopping_when

Result = TypeVar("Result")
_SHORT, _LIGHT = 2000, 50_000  # characters or bytes that are prepared in about a millisecond, or 0.1 s


class _Job(Submission):
    """Work for a thread, and the caller that waits for it."""

    def __init__(self, work: Callable[[], Any], is_heavy: bool):
        super().__init__(current_client.get(), None, is_heavy)
        self.work, self.loop = work, asyncio.get_running_loop()
        self.started: asyncio.Future[None] = self.loop.create_future()
        self.done: asyncio.Future[Any] = self.loop.create_future()

    def run(self) -> Any:
        """Do the work in this thread."""
        with stopping_when(lambda: self.is_gone):
            return self.work()

    def post(self, future: asyncio.Future[Any], result: Any) -> None:
        """Resolve a future from another thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(_resolve, future, result)


class PreparationThreads:
    """Runs work in daemon threads, some of which are reserved for light work.

    Args:
        seconds: Time limit of a piece of work from its start.
        heavy_threads: Number of heavy pieces of work that run at a time.
        light_threads: Number of further threads for light work.
    """

    def __init__(self, seconds: float = 60.0, heavy_threads: int = 2, light_threads: int = 1):
        self._seconds, self._heavy_threads = seconds, heavy_threads
        self._number = heavy_threads + light_threads
        self._changed = threading.Condition()
        self._queue = FairQueue()
        self._running: list[_Job] = []
        self._abandoned: list[_Job] = []
        self._threads = 0

    @property
    def is_idle(self) -> bool:
        """Whether no work is running, not even abandoned work."""
        return not (self._running or self._abandoned)

    async def run(self, work: Callable[[], Result], size: int) -> Result:
        """Run work in a thread, or on the event loop if it is so small that passing it to a thread would take longer.

        Args:
            work: The work.
            size: Its size in characters or bytes, for fair sharing.

        Raises:
            ApiError: 503 if the time limit is exceeded.
            Exception: Whatever the work raised.
        """
        if size <= _SHORT:
            return work()
        job = _Job(work, size > _LIGHT)
        with self._changed:
            self._queue.add(job, [work], [1 + size])
            while self._threads < self._number:
                self._start_thread()
            self._changed.notify()
        try:
            await job.started
            async with asyncio.timeout(self._seconds):
                result: Result = await job.done
                return result
        except TimeoutError:
            message = f"the text or file could not be read or written within {self._seconds:g} seconds; send less"
            raise ApiError(503, message, 60) from None
        finally:
            self._leave(job)

    def _leave(self, job: _Job) -> None:
        job.is_gone = True
        with self._changed:
            self._queue.remove(job)
            if job in self._running:
                self._running.remove(job)
                self._abandoned.append(job)
                if self._threads < 2 * self._number:
                    self._start_thread()
                self._changed.notify()

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._run, name="preparation", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._may_take():
                    self._changed.wait()
                kind = self._queue.next_kind(light_only=self._heavy_running() >= self._heavy_threads)
                [item] = self._queue.take(kind, 1, 0)
                job = item.submission
                self._running.append(job)
            job.post(job.started, None)
            try:
                result = job.run()
            except Exception as error:
                result = error
            except BaseException as error:  # SystemExit would end the event loop
                result = RuntimeError(repr(error))
            with self._changed:
                if job in self._running:
                    self._running.remove(job)
                else:
                    self._abandoned.remove(job)
                    if self._threads > self._number:  # another thread took its place
                        self._threads -= 1
                        return
                self._changed.notify()
            job.post(job.done, result)

    def _may_take(self) -> bool:
        if len(self._running) >= self._number:
            return False
        heavy_allowed = self._heavy_running() < self._heavy_threads
        return self._queue.waiting[False] > 0 or (heavy_allowed and self._queue.waiting[True] > 0)

    def _heavy_running(self) -> int:
        return sum(job.is_heavy for job in self._running)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
