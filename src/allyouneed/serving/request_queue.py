"""Request queue: sentences of all requests wait here, and model threads take them in batches.

The queue is independent of translation: a batch key is any hashable value, and a worker turns the payloads of one key
into results. The event loop never blocks on a model; model threads post results back to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from allyouneed.serving.api_errors import ApiError

_log = logging.getLogger(__name__)
_MAX_RETRY_SECONDS = 60
_MAX_GATHER_INTERVALS = 8  # a batch waits for at most this many `gather_seconds`
_RATE_SMOOTHING = 0.1  # weight of the newest batch in the moving average


class Worker(Protocol):
    """Processes batches in one model thread."""

    def work(self, key: Any, payloads: Sequence[Any]) -> list[Any]:
        """Return one result per payload, in order."""


@dataclass(frozen=True)
class QueueLimits:
    """Limits of a request queue.

    Attributes:
        threads: Number of model threads.
        batch_tokens: Maximum total weight of a batch, in tokens.
        gather_seconds: How long a batch waits for its next sentence.
        queue_sentences: Maximum number of waiting sentences; further ones are rejected with 503.
    """

    threads: int = 1
    batch_tokens: int = 2048
    gather_seconds: float = 0.003
    queue_sentences: int = 4096


@dataclass(eq=False)
class _QueuedItem:
    """One payload in the queue; `ticket` is its position in the order of arrival, `weight` its number of tokens."""

    key: Hashable
    payload: Any
    weight: int
    ticket: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any] = field(repr=False)


class RequestQueue:
    """Batches payloads of many requests for a fixed number of model threads.

    Args:
        make_worker: Called once in each model thread.
        weigh: Estimates the number of tokens of a payload, given its key and the payload.
        limits: Threads, batch size and queue length.
        observe: Called by the model thread after each batch with its key, payloads and seconds.
    """

    def __init__(
        self,
        make_worker: Callable[[], Worker],
        weigh: Callable[[Any, Any], int],
        limits: QueueLimits,
        observe: Callable[[Any, Sequence[Any], float], None] = lambda key, payloads, seconds: None,
    ):
        self._make_worker, self._weigh, self._observe = make_worker, weigh, observe
        self._limits = limits
        self._changed = threading.Condition()
        self._queues: dict[Hashable, deque[_QueuedItem]] = {}
        self._waiting = self._waiting_tokens = self._working = 0
        self._tickets = count()
        self._sentences_per_second = 0.0
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._first_worker_done = threading.Event()

    def start(self) -> None:
        """Start the model threads."""
        for _ in range(self._limits.threads):
            self._start_thread()

    def wait_until_ready(self) -> None:
        """Block until the first worker is ready or has failed."""
        self._first_worker_done.wait()

    def close(self) -> None:
        """Reject new work, finish what was accepted, and join the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in list(self._threads):
            thread.join()

    @property
    def waiting(self) -> int:
        """Number of payloads that no thread has taken yet."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Whether the queue accepts work and has a live model thread."""
        return not self._closing and any(thread.is_alive() for thread in self._threads)

    async def submit(self, key: Hashable, payloads: Sequence[Any]) -> list[Any]:
        """Queue payloads and wait for their results.

        All payloads are accepted or none. If the caller is cancelled, payloads that no thread has taken are dropped.

        Args:
            key: Payloads with equal keys may share a batch.
            payloads: Work for the workers.

        Returns:
            Results in the order of the payloads.

        Raises:
            ApiError: 503 if the queue is full or closing.
            Exception: Whatever the worker raised for one of the payloads.
        """
        if not payloads:
            return []
        loop = asyncio.get_running_loop()
        items = [
            _QueuedItem(key, payload, self._weigh(key, payload), next(self._tickets), loop, loop.create_future())
            for payload in payloads
        ]
        self._accept(key, items)
        try:
            return await asyncio.gather(*(item.future for item in items))
        finally:
            for item in items:
                if not item.future.done():
                    item.future.cancel()
                elif not item.future.cancelled():
                    item.future.exception()  # marks it as retrieved, so that asyncio does not log it

    def _accept(self, key: Hashable, items: list[_QueuedItem]) -> None:
        with self._changed:
            if self._closing:
                raise ApiError(503, "the server is shutting down; try again", 5)
            if self._waiting + len(items) > self._limits.queue_sentences:
                raise ApiError(503, "the queue is full; try again later", self.retry_after())
            self._queues.setdefault(key, deque()).extend(items)
            self._waiting += len(items)
            self._waiting_tokens += sum(item.weight for item in items)
            self._changed.notify_all()

    def retry_after(self) -> int:
        """Estimate the seconds until the current queue is processed, from the rate of recent batches."""
        seconds = self._waiting / self._sentences_per_second if self._sentences_per_second else 1
        return max(1, min(_MAX_RETRY_SECONDS, math.ceil(seconds)))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        batch: list[_QueuedItem] = []
        try:
            worker = self._make_worker()
            self._first_worker_done.set()
            while batch := self._take():
                self._process(worker, batch)
                self._finish(batch)
        except BaseException as error:  # also SystemExit: the batch is answered and the thread replaced in any case
            _log.exception("a model thread failed")
            self._first_worker_done.set()
            failure = ApiError(503, f"the model failed ({type(error).__name__}); try again", 1)
            _deliver(batch, [failure] * len(batch))
            self._threads.remove(threading.current_thread())
            if batch:
                self._finish(batch)
                self._start_thread()

    def _take(self) -> list[_QueuedItem]:
        """Take the oldest item and others with its key, up to the size of a batch; [] when the queue is closed."""
        with self._changed:
            self._wait_for_work()
            if not self._waiting:
                return []
            queue = min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].ticket)
            share = self._share(len(queue))
            batch: list[_QueuedItem] = []
            tokens = 0
            limit = self._limits.batch_tokens
            while queue and len(batch) < share and (not batch or tokens + queue[0].weight <= limit):
                batch.append(queue.popleft())
                tokens += batch[-1].weight
            if not queue:
                del self._queues[batch[0].key]
            self._waiting -= len(batch)
            self._waiting_tokens -= tokens
            self._working += len(batch)
            return batch

    def _share(self, waiting: int) -> int:
        """Return a thread's share of all pending items.

        Dividing by one more than the number of threads leaves a batch in the queue while clients that just received
        a response send their next requests, so that no thread is idle.
        """
        return math.ceil((waiting + self._working) / (self._limits.threads + 1))

    def _has_full_share(self) -> bool:
        """Whether a thread can start without gathering more; a lone sentence waits briefly for others."""
        return self._waiting >= max(2, self._share(self._waiting))

    def _finish(self, batch: list[_QueuedItem]) -> None:
        with self._changed:
            self._working -= len(batch)

    def _wait_for_work(self) -> None:
        """Wait for an item, then gather more while items keep arriving, up to a deadline."""
        gather_seconds, batch_tokens = self._limits.gather_seconds, self._limits.batch_tokens
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._changed.wait()
            deadline = time.monotonic() + _MAX_GATHER_INTERVALS * gather_seconds
            while 0 < self._waiting_tokens < batch_tokens and not self._closing and not self._has_full_share():
                before = self._waiting
                self._changed.wait(max(0.0, min(gather_seconds, deadline - time.monotonic())))
                if self._waiting == before or time.monotonic() >= deadline:
                    break
            if self._waiting:  # otherwise another thread took it
                return

    def _process(self, worker: Worker, batch: list[_QueuedItem]) -> None:
        batch = [item for item in batch if not item.future.cancelled()]
        if not batch:
            return
        started = time.monotonic()
        results = self._results(worker, batch)
        seconds = max(time.monotonic() - started, 1e-6)
        rate = len(batch) / seconds * len(self._threads)
        smoothing = _RATE_SMOOTHING if self._sentences_per_second else 1
        self._sentences_per_second += (rate - self._sentences_per_second) * smoothing
        _deliver(batch, results)
        self._observe(batch[0].key, [item.payload for item in batch], seconds)

    def _results(self, worker: Worker, batch: list[_QueuedItem]) -> list[Any]:
        """Return results or exceptions; items of a failed batch are retried singly, so that only faulty ones fail."""
        try:
            return worker.work(batch[0].key, [item.payload for item in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [result for item in batch for result in self._results(worker, [item])]


def _deliver(batch: list[_QueuedItem], results: list[Any]) -> None:
    """Post results or exceptions to the waiting event loops, with one call per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for item, result in zip(batch, results, strict=True):
        by_loop.setdefault(item.loop, []).append((item.future, result))
    for loop, resolved in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, resolved)


def _resolve(resolved: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in resolved:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
