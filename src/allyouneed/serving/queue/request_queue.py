"""Request queue: sentences of all requests wait here, and model threads take them in batches.

The queue is independent of translation: a batch key is any hashable value, and a worker turns the payloads of one key
into results. The event loop never blocks on a model; model threads post results back to it. `fair_queue.py` decides
whose items are next, and `model_threads.py` keeps the threads alive.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.fair_queue import FairQueue, Kind, QueuedItem, Submission, current_client
from allyouneed.serving.queue.model_threads import Backoff, ModelThreads, Worker, WorkerDiedError
from allyouneed.translation.stopping import StoppedError, stopping_when

_MAX_RETRY_SECONDS = 60
_MAX_GATHER_INTERVALS = 8  # a batch waits for at most this many `gather_seconds`
_SMOOTHING, _SMOOTHING_SLOWER = 0.1, 0.5  # weight of the newest batch in the moving averages
_HEAVY_BATCH = 4  # times `batch_seconds`; a light item does not wait for a heavy batch
_MOST_RATES = 1000  # keys whose speed is remembered; clients choose the keys
_STOP_SECONDS = 1.0  # for batches to stop at their next step
_OUTAGE = "the models cannot be started; try again later"
_BACKOFF = Backoff()


@dataclass(frozen=True)
class QueueLimits:
    """Limits of a request queue.

    Attributes:
        threads: Number of batches that are processed at a time, besides a batch of light items that would otherwise
            wait for heavy ones.
        batch_tokens: Maximum total weight of a batch, in tokens.
        batch_seconds: Time that a batch of light items should take at most; heavy ones may take four times as long.
        light_tokens: Maximum total weight of a light submission.
        gather_seconds: How long a batch waits for its next sentence.
        queue_sentences: Maximum number of waiting sentences; further ones are rejected with 503.
        backoff: Delays between attempts to start a model thread that failed.
    """

    threads: int = 1
    batch_tokens: int = 2048
    batch_seconds: float = 0.5
    light_tokens: int = 512
    gather_seconds: float = 0.003
    queue_sentences: int = 4096
    backoff: Backoff = _BACKOFF


@dataclass(eq=False)
class _Batch:
    """Items that a thread processes."""

    kind: Kind
    items: list[QueuedItem]


class _Request(Submission):
    """A submission with a caller that waits for its results; used on the caller's event loop only."""

    def __init__(self, client: str, key: Hashable, is_heavy: bool, number: int):
        super().__init__(client, key, is_heavy)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Any]] = self.loop.create_future()
        self._results: list[Any] = [None] * number
        self._missing = number

    def receive(self, index: int, result: Any) -> None:
        """Store a result, or fail with an exception."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
            return
        self._results[index] = result
        self._missing -= 1
        if not self._missing:
            self.future.set_result(self._results)


class RequestQueue:
    """Batches payloads of many requests for a fixed number of model threads.

    Args:
        make_worker: Called in each model thread, again after a failure.
        weigh: Estimates the number of tokens of a payload, given its key and the payload.
        limits: Threads, batch size and queue length.
        observe: Called by the model thread after each batch with its key, payloads and seconds.
        shares_batch: Whether payloads with a key may share a batch; otherwise each is a batch of its own.
    """

    def __init__(
        self,
        make_worker: Callable[[], Worker],
        weigh: Callable[[Any, Any], int],
        limits: QueueLimits,
        observe: Callable[[Any, Sequence[Any], float], None] = lambda key, payloads, seconds: None,
        shares_batch: Callable[[Any], bool] = lambda key: True,
    ):
        self._weigh, self._observe, self.limits = weigh, observe, limits
        self._shares_batch = shares_batch
        self._threads = ModelThreads(make_worker, self._serve, limits.threads + 1, limits.backoff, self._reject_waiting)
        self._queue = FairQueue()
        self._lock = threading.Lock()
        self._can_take = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)  # for the thread that gathers a batch
        self._is_gathering = False
        self._running: list[_Batch] = []
        self._sentences_per_second = self._tokens_per_second = 0.0
        self._rates: dict[Hashable, float] = {}  # tokens per second of a thread
        self._closing = False

    def start(self) -> None:
        """Start the model threads."""
        self._threads.start()

    def wait_until_ready(self) -> None:
        """Block until the first worker is ready, or all have failed."""
        self._threads.wait_until_ready()

    def close(self, seconds: float = math.inf) -> bool:
        """Reject new work, finish what was accepted, and end the threads.

        Args:
            seconds: After this time, what is not finished is rejected.

        Returns:
            Whether all threads have ended.
        """
        with self._lock:
            self._closing = True
            self._can_take.notify_all()
            self._arrived.notify_all()
        if self._threads.close(min(seconds, threading.TIMEOUT_MAX)):
            return True
        with self._lock:
            unfinished = [*self._remove_all(), *(item for batch in self._running for item in batch.items)]
        for item in unfinished:
            item.submission.is_gone = True
        _deliver((item, _shutting_down()) for item in unfinished)
        return self._threads.close(_STOP_SECONDS)

    @property
    def waiting(self) -> int:
        """Number of payloads that no thread has taken yet."""
        return len(self._queue)

    @property
    def ready(self) -> bool:
        """Whether the queue accepts work and has a working model thread."""
        return not self._closing and self._threads.ready

    @property
    def has_ended(self) -> bool:
        """Whether no model thread is running."""
        return self._threads.have_ended

    @property
    def has_failed(self) -> bool:
        """Whether there has been no working model thread for so long that the server should be restarted."""
        return self._threads.has_given_up

    async def submit(self, key: Hashable, payloads: Sequence[Any]) -> list[Any]:
        """Queue payloads and wait for their results.

        All payloads are accepted or none. If the caller is cancelled, payloads that no thread has taken are removed
        from the queue, and a batch stops if nobody waits for any of its payloads.

        Args:
            key: Payloads with equal keys may share a batch.
            payloads: Work for the workers.

        Returns:
            Results in the order of the payloads.

        Raises:
            ApiError: 503 if the queue is full or closing, or no model thread works.
            Exception: Whatever the worker raised for one of the payloads.
        """
        if not payloads:
            return []
        weights = [self._weigh(key, payload) for payload in payloads]
        request = _Request(current_client.get(), key, sum(weights) > self.limits.light_tokens, len(payloads))
        self._accept(request, payloads, weights)
        try:
            return await request.future
        finally:
            request.is_gone = True
            with self._lock:
                self._queue.remove(request)
                if self._closing:
                    self._can_take.notify_all()

    def _accept(self, request: _Request, payloads: Sequence[Any], weights: Sequence[int]) -> None:
        with self._lock:
            if self._closing:
                raise _shutting_down()
            if self._threads.in_outage:
                raise ApiError(503, _OUTAGE, self._threads.retry_after)
            # A client that has waiting sentences gets at most as much of the queue as remains for others.
            remaining = self.limits.queue_sentences - len(self._queue) - len(payloads)
            own = self._queue.waiting_of(request.client)
            if remaining < 0 or (own and own + len(payloads) > remaining):
                raise ApiError(503, "the queue is full; try again later", self.retry_after())
            self._queue.add(request, payloads, weights)
            if self._is_gathering:
                self._arrived.notify()
            elif self._may_take():
                self._can_take.notify()

    def retry_after(self) -> int:
        """Estimate the seconds until the current queue is processed, from the rate of recent batches."""
        seconds = self.waiting / self._sentences_per_second if self._sentences_per_second else 1
        return max(1, min(_MAX_RETRY_SECONDS, math.ceil(seconds)))

    def _reject_waiting(self) -> None:
        """Answer what is waiting with 503, since no model thread will take it soon."""
        with self._lock:
            waiting = self._remove_all()
        error = ApiError(503, _OUTAGE, self._threads.retry_after)
        _deliver((item, error) for item in waiting)

    def _remove_all(self) -> list[QueuedItem]:
        removed: list[QueuedItem] = []
        while len(self._queue):
            removed += self._queue.take(self._queue.next_kind(), len(self._queue), sum(self._queue.weight))
        self._can_take.notify_all()
        return removed

    def _serve(self, worker: Worker) -> None:
        """Process batches until the queue is closed and empty; if the worker dies, its batch is answered with 503."""
        while batch := self._take():
            has_failed = True
            try:
                self._process(worker, batch)
                has_failed = False
            except BaseException as error:  # also SystemExit
                failure = ApiError(503, f"the model failed ({type(error).__name__}); try again", 1)
                _deliver((item, failure) for item in batch.items)
                raise
            finally:
                with self._lock:
                    self._running.remove(batch)
                    if has_failed:  # otherwise this thread takes the next batch
                        self._can_take.notify()

    def _take(self) -> _Batch | None:
        """Wait for a batch and take it; None when the queue is closed and empty."""
        with self._lock:
            while True:
                while self._is_gathering or not self._may_take():
                    if self._closing and not len(self._queue):
                        self._can_take.notify_all()
                        return None
                    self._can_take.wait()
                self._gather()
                if self._may_take():  # otherwise the clients have left in the meantime
                    break
            kind = self._queue.next_kind(light_only=len(self._running) >= self.limits.threads)
            most = self._share(kind.is_heavy) if self._shares_batch(kind.key) else 1
            batch = _Batch(kind, self._queue.take(kind, most, self._most_tokens(kind)))
            self._running.append(batch)
            if self._may_take():
                self._can_take.notify()
            return batch

    def _may_take(self) -> bool:
        """Whether a thread may take a batch now: any batch, or a light one while heavy ones occupy all threads."""
        if len(self._running) < self.limits.threads:
            return len(self._queue) > 0
        return self._queue.waiting[False] > 0 and all(batch.kind.is_heavy for batch in self._running)

    def _gather(self) -> None:
        """Wait for more items while they keep arriving, up to a deadline; a lone sentence waits briefly for others."""
        seconds = self.limits.gather_seconds
        deadline = time.monotonic() + _MAX_GATHER_INTERVALS * seconds
        self._is_gathering = True
        while 0 < sum(self._queue.weight) < self.limits.batch_tokens and not self._closing:
            before = len(self._queue)
            if before >= max(2, self._share(False), self._share(True)):
                break
            self._arrived.wait(max(0.0, min(seconds, deadline - time.monotonic())))
            if len(self._queue) == before or time.monotonic() >= deadline:
                break
        self._is_gathering = False

    def _share(self, is_heavy: bool) -> int:
        """Return a thread's share of all pending items.

        Dividing by one more than the number of threads leaves a batch in the queue while clients that just received
        a response send their next requests, so that no thread is idle.
        """
        working = sum(len(batch.items) for batch in self._running if batch.kind.is_heavy == is_heavy)
        return math.ceil((self._queue.waiting[is_heavy] + working) / (self.limits.threads + 1))

    def _most_tokens(self, kind: Kind) -> int:
        """Return the weight of a batch that takes the allowed time, by the speed of earlier batches."""
        rate = self._rates.get(kind.key, self._tokens_per_second)
        seconds = self.limits.batch_seconds * (_HEAVY_BATCH if kind.is_heavy else 1)
        return min(self.limits.batch_tokens, max(1, int(rate * seconds))) if rate else self.limits.batch_tokens

    def _process(self, worker: Worker, batch: _Batch) -> None:
        started = time.monotonic()
        items = [item for item in batch.items if not item.submission.is_gone]
        try:
            with stopping_when(lambda: all(item.submission.is_gone for item in items)):
                results = self._results(worker, items)
        except StoppedError:
            return
        if items:
            seconds = max(time.monotonic() - started, 1e-6)
            self._measure(batch.kind.key, items, seconds)
            _deliver(zip(items, results, strict=True))
            self._observe(batch.kind.key, [item.payload for item in items], seconds)

    def _measure(self, key: Hashable, items: Sequence[QueuedItem], seconds: float) -> None:
        """Update the moving averages of the speed."""
        per_second = len(items) / seconds * self.limits.threads
        self._sentences_per_second = _smoothed(self._sentences_per_second, per_second)
        rate = sum(item.weight for item in items) / seconds
        if len(self._rates) >= _MOST_RATES:
            self._rates.clear()
        self._rates[key] = _smoothed(self._rates.get(key, 0.0), rate)
        self._tokens_per_second = _smoothed(self._tokens_per_second, rate)

    def _results(self, worker: Worker, batch: list[QueuedItem]) -> list[Any]:
        """Return results or exceptions; items of a failed batch are retried singly, so that only faulty ones fail."""
        if not batch:
            return []
        try:
            return worker.work(batch[0].submission.key, [item.payload for item in batch])
        except (StoppedError, WorkerDiedError):
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [result for item in batch for result in self._results(worker, [item])]


def _deliver(results: Iterable[tuple[QueuedItem, Any]]) -> None:
    """Post results or exceptions to the waiting event loops, with one call per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[QueuedItem, Any]]] = {}
    for item, result in results:
        by_loop.setdefault(item.submission.loop, []).append((item, result))
    for loop, resolved in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, resolved)


def _shutting_down() -> ApiError:
    return ApiError(503, "the server is shutting down; try again", 5)


def _resolve(resolved: list[tuple[QueuedItem, Any]]) -> None:
    for item, result in resolved:
        item.submission.receive(item.position, result)


def _smoothed(average: float, value: float) -> float:
    """Return a moving average that follows a slowdown faster than a speedup; an average of 0 has no values yet."""
    return average + (value - average) * (_SMOOTHING_SLOWER if value < average else _SMOOTHING) if average else value
