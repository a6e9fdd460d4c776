"""The queue: sentences of all requests wait here, and model threads take them in batches.

It knows nothing of translating: a `Kind` of work is any hashable value, and a worker turns payloads of one kind into
answers. The event loop never waits for a model: it hands sentences in and is told when their answers are there.
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
_LONGEST_RETRY = 60  # seconds
_LONGEST_GATHERING = 8  # times the wait for the next sentence


class Worker(Protocol):
    def work(self, kind: Any, payloads: Sequence[Any]) -> list[Any]:
        """An answer for each payload, in order."""


@dataclass(eq=False)
class _Item:
    """One sentence in the queue. ticket: its place in the order of arrival; weight: in tokens."""

    kind: Hashable
    payload: Any
    weight: int
    ticket: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any] = field(repr=False)


class Service:
    """make_worker: called once in each thread, for a worker that this thread has to itself; weigh: tokens of a payload,
    about; observe: told (kind, payloads, seconds) of each batch, by the thread that had it."""

    def __init__(
        self,
        make_worker: Callable[[], Worker],
        weigh: Callable[[Any, Any], int],
        threads: int = 1,
        batch_tokens: int = 2048,
        gather_seconds: float = 0.003,
        queue_sentences: int = 4096,
        observe: Callable[[Any, Sequence[Any], float], None] = lambda kind, payloads, seconds: None,
    ):
        self._make_worker, self._weigh, self._observe = make_worker, weigh, observe
        self._batch_tokens, self._gather_seconds = batch_tokens, gather_seconds
        self._queue_sentences = queue_sentences
        self._changed = threading.Condition()
        self._queues: dict[Hashable, deque[_Item]] = {}
        self._waiting = self._waiting_tokens = self._working = 0
        self._tickets = count()
        self._sentences_a_second = 0.0
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._wanted = threads
        self._begun = threading.Event()

    def start(self) -> None:
        for _ in range(self._wanted):
            self._start_thread()

    def wait_until_ready(self) -> None:
        """Until one worker is made, or could not be."""
        self._begun.wait()

    def close(self) -> None:
        """Finishes all that was accepted, and returns then."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in list(self._threads):
            thread.join()

    @property
    def waiting(self) -> int:
        """Sentences that no thread has taken yet."""
        return self._waiting

    @property
    def ready(self) -> bool:
        return not self._closing and any(thread.is_alive() for thread in self._threads)

    async def submit(self, kind: Hashable, payloads: Sequence[Any]) -> list[Any]:
        """Answers in order. All are accepted or none. What is waited for no longer is not worked on.

        Errors: `ApiError` 503 when the queue is full or closing; what the worker raised.
        """
        if not payloads:
            return []
        loop = asyncio.get_running_loop()
        items = [
            _Item(kind, payload, self._weigh(kind, payload), next(self._tickets), loop, loop.create_future())
            for payload in payloads
        ]
        self._accept(kind, items)
        try:
            return await asyncio.gather(*(item.future for item in items))
        finally:
            for item in items:
                if not item.future.done():
                    item.future.cancel()
                elif not item.future.cancelled():
                    item.future.exception()  # looked at: of several that failed, one is told

    def _accept(self, kind: Hashable, items: list[_Item]) -> None:
        with self._changed:
            if self._closing:
                raise ApiError(503, "the server is shutting down; try again", 5)
            if self._waiting + len(items) > self._queue_sentences:
                raise ApiError(503, "too much is waiting to be translated; try again later", self.retry_after())
            self._queues.setdefault(kind, deque()).extend(items)
            self._waiting += len(items)
            self._waiting_tokens += sum(item.weight for item in items)
            self._changed.notify_all()

    def retry_after(self) -> int:
        """Seconds until what waits now will be done, as far as the last batches tell."""
        seconds = self._waiting / self._sentences_a_second if self._sentences_a_second else 1
        return max(1, min(_LONGEST_RETRY, math.ceil(seconds)))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        batch: list[_Item] = []
        try:
            worker = self._make_worker()
            self._begun.set()
            while batch := self._take():
                self._work(worker, batch)
                self._done(batch)
        except BaseException as error:  # whatever ends this thread: its batch gets an answer, and another takes over
            _log.exception("a model thread ended")
            self._begun.set()
            failed = ApiError(503, f"the model failed ({type(error).__name__}); try again", 1)
            _deliver(batch, [failed] * len(batch))
            self._threads.remove(threading.current_thread())
            if batch:
                self._done(batch)
                self._start_thread()

    def _take(self) -> list[_Item]:
        """The next batch: the oldest sentence, and others of its kind up to the tokens of a batch. [] at the end."""
        with self._changed:
            self._wait_for_work()
            if not self._waiting:
                return []
            queue = min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].ticket)
            share = self._share(len(queue))
            batch: list[_Item] = []
            tokens = 0
            while queue and len(batch) < share and (not batch or tokens + queue[0].weight <= self._batch_tokens):
                batch.append(queue.popleft())
                tokens += batch[-1].weight
            if not queue:
                del self._queues[batch[0].kind]
            self._waiting -= len(batch)
            self._waiting_tokens -= tokens
            self._working += len(batch)
            return batch

    def _share(self, waiting: int) -> int:
        """A thread's part of what is under way: so that, while clients whose answers were just sent ask again, another
        batch waits already, and no thread stands still."""
        return math.ceil((waiting + self._working) / (self._wanted + 1))

    def _enough(self) -> bool:
        """So that a thread need not wait for more. A sentence by itself may get company."""
        return self._waiting >= max(2, self._share(self._waiting))

    def _done(self, batch: list[_Item]) -> None:
        with self._changed:
            self._working -= len(batch)

    def _wait_for_work(self) -> None:
        """Until there is work, and then for as long as more of it comes at once, though never for long."""
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._changed.wait()
            until = time.monotonic() + _LONGEST_GATHERING * self._gather_seconds
            while 0 < self._waiting_tokens < self._batch_tokens and not self._closing and not self._enough():
                seen = self._waiting
                self._changed.wait(max(0.0, min(self._gather_seconds, until - time.monotonic())))
                if self._waiting == seen or time.monotonic() >= until:
                    break
            if self._waiting:  # else another thread took it
                return

    def _work(self, worker: Worker, batch: list[_Item]) -> None:
        batch = [item for item in batch if not item.future.cancelled()]
        if not batch:
            return
        begun = time.monotonic()
        answers = self._answers(worker, batch)
        seconds = max(time.monotonic() - begun, 1e-6)
        rate = len(batch) / seconds * len(self._threads)
        self._sentences_a_second += (rate - self._sentences_a_second) * (0.1 if self._sentences_a_second else 1)
        _deliver(batch, answers)
        self._observe(batch[0].kind, [item.payload for item in batch], seconds)

    def _answers(self, worker: Worker, batch: list[_Item]) -> list[Any]:
        """One for each: where a batch fails, each sentence is tried alone, so that one cannot spoil the others'."""
        try:
            return worker.work(batch[0].kind, [item.payload for item in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [answer for item in batch for answer in self._answers(worker, [item])]


def _deliver(batch: list[_Item], answers: list[Any]) -> None:
    """Hands answers, or exceptions, to those who wait: once for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for item, answer in zip(batch, answers, strict=True):
        by_loop.setdefault(item.loop, []).append((item.future, answer))
    for loop, answered in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_set, answered)


def _set(answered: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in answered:
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
