"""The request queue with fake workers: no accepted item is lost, whatever happens to a worker."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.fair_queue import current_client
from allyouneed.serving.queue.model_threads import Backoff, WorkerDiedError
from allyouneed.serving.queue.request_queue import QueueLimits, RequestQueue
from allyouneed.translation.stopping import StoppedError, check_needed


class UppercaseWorker:
    """Returns payloads in upper case and records its batches."""

    def __init__(self, batches: list[list[str]], seconds: float = 0.0):
        self.batches, self.seconds = batches, seconds

    def work(self, key, payloads):
        self.batches.append(list(payloads))
        time.sleep(self.seconds)
        if "die" in payloads:
            raise SystemExit
        if "dead" in payloads:
            raise WorkerDiedError
        if "bad" in payloads:
            raise ValueError("bad")
        return [payload.upper() for payload in payloads]


def run(work, seconds: float = 0.0, **limits) -> tuple[list, list[list[str]]]:
    """Return the results or exceptions of the tasks from `work(queue)`, and the batches."""
    batches: list[list[str]] = []
    queue = RequestQueue(lambda: UppercaseWorker(batches, seconds), lambda key, text: len(text), QueueLimits(**limits))
    queue.start()

    async def run_all():
        return await asyncio.gather(*work(queue), return_exceptions=True)

    try:
        return asyncio.run(run_all()), batches
    finally:
        queue.close()


def test_single_sentences_share_batches_and_keep_their_results():
    texts = [f"t{number:02}" for number in range(60)]
    found, batches = run(lambda s: [s.submit("k", [text]) for text in texts], gather_seconds=0.05)
    assert found == [[text.upper()] for text in texts]
    assert len(batches) < 10


def test_a_batch_has_one_key_and_at_most_the_allowed_tokens():
    def work(queue):
        return [queue.submit(key, [key * 4] * 5) for key in "ab"]

    _, batches = run(work, batch_tokens=9, gather_seconds=0.01)
    assert max(map(len, batches)) == 2
    assert all(len(set(batch)) == 1 for batch in batches)


def test_an_oversized_sentence_is_a_batch_alone():
    found, batches = run(lambda s: [s.submit("k", ["x" * 50]), s.submit("k", ["y"])], batch_tokens=9)
    assert found == [["X" * 50], ["Y"]]
    assert ["x" * 50] in batches


def test_a_full_queue_rejects_with_retry_after():
    found, _ = run(lambda s: [s.submit("k", ["a"] * 3) for _ in range(3)], queue_sentences=4, seconds=0.05)
    rejected = [error for error in found if isinstance(error, ApiError)]
    assert rejected
    assert all(error.status == 503 and error.retry_after >= 1 for error in rejected)
    assert any(answers == ["A"] * 3 for answers in found)


def test_one_bad_sentence_does_not_fail_the_others():
    found, _ = run(lambda s: [s.submit("k", [text]) for text in ("a", "bad", "c")], gather_seconds=0.05)
    assert found[0] == ["A"]
    assert isinstance(found[1], ValueError)
    assert found[2] == ["C"]


@pytest.mark.parametrize("death", ["die", "dead"])
def test_a_thread_that_dies_fails_its_batch_and_is_replaced(death):
    texts = [death if number % 10 == 5 else f"t{number}" for number in range(60)]
    found, _ = run(lambda s: [s.submit("k", [text]) for text in texts], threads=2, batch_tokens=8)
    for text, answer in zip(texts, found, strict=True):
        assert answer == [text.upper()] or (isinstance(answer, ApiError) and answer.status == 503), text
    assert sum(isinstance(answer, list) for answer in found) > 30


def test_cancelled_items_are_not_processed():
    async def cancel_one(queue):
        first = asyncio.ensure_future(queue.submit("k", ["slow"]))
        await asyncio.sleep(0.02)
        cancelled = asyncio.ensure_future(queue.submit("k", ["cancelled"]))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        return await first

    found, batches = run(lambda s: [cancel_one(s)], seconds=0.5, gather_seconds=0.0)
    assert found == [["SLOW"]]
    assert ["cancelled"] not in batches


def test_closing_finishes_accepted_items_and_rejects_more():
    batches: list[list[str]] = []
    queue = RequestQueue(lambda: UppercaseWorker(batches, 0.05), lambda key, text: 1, QueueLimits(batch_tokens=1))
    queue.start()

    async def close_while_working():
        waiting = [asyncio.ensure_future(queue.submit("k", [text])) for text in "abcd"]
        await asyncio.sleep(0.02)
        closing = threading.Thread(target=queue.close)
        closing.start()
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match="shutting down"):
            await queue.submit("k", ["late"])
        return await asyncio.gather(*waiting)

    assert asyncio.run(close_while_working()) == [["A"], ["B"], ["C"], ["D"]]
    assert not queue.ready


def test_the_queue_is_ready_once_a_worker_is_made():
    may_start = threading.Event()

    def make() -> UppercaseWorker:
        may_start.wait()
        return UppercaseWorker([])

    queue = RequestQueue(make, lambda key, text: 1, QueueLimits())
    queue.start()
    waiting = threading.Thread(target=queue.wait_until_ready)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    may_start.set()
    waiting.join(5)
    assert queue.ready
    queue.close()


def test_a_failing_worker_does_not_block_startup():
    def make() -> UppercaseWorker:
        raise MemoryError

    queue = RequestQueue(make, lambda key, text: 1, QueueLimits())
    queue.start()
    queue.wait_until_ready()
    assert not queue.ready
    queue.close()


class HeldWorker:
    """Holds batches with "hold" until they are released, or nobody waits for them any more."""

    def __init__(self):
        self.begun, self.release, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.finished: list[str] = []

    def work(self, key, payloads):
        if any(payload.startswith("hold") for payload in payloads):
            self.begun.set()
            try:
                while not self.release.is_set():
                    check_needed()
            except StoppedError:
                self.stopped.set()
                raise
        self.finished += payloads
        return [payload.upper() for payload in payloads]


@contextmanager
def held_queue(**limits) -> Iterator[tuple[RequestQueue, HeldWorker]]:
    """Yield a queue and the worker that its threads share."""
    worker = HeldWorker()
    queue = RequestQueue(lambda: worker, lambda key, text: len(text), QueueLimits(gather_seconds=0, **limits))
    queue.start()
    try:
        yield queue, worker
    finally:
        worker.release.set()
        queue.close()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


HEAVY = "hold" + "x" * 1000


def test_a_short_text_does_not_wait_for_a_heavy_batch():
    async def run(queue, worker):
        files = [asyncio.ensure_future(queue.submit("k", [HEAVY, HEAVY])) for _ in range(3)]
        await until(worker.begun.is_set)
        answers = [await queue.submit("k", [text]) for text in ("a", "b")]
        assert not any(file.done() for file in files)
        worker.release.set()
        await asyncio.gather(*files)
        return answers

    with held_queue(threads=1) as held:
        assert asyncio.run(run(*held)) == [["A"], ["B"]]


def test_no_more_than_the_threads_process_heavy_batches_and_no_more_light_ones_than_one_beside_them():
    running, most, lock = Counter(), Counter(), threading.Lock()

    class Counting:
        def work(self, key, payloads):
            heavy = len(payloads[0]) > 100
            with lock:
                running[heavy] += 1
                most[heavy] = max(most[heavy], running[heavy])
                assert sum(running.values()) <= 3
            with lock:
                running[heavy] -= 1
            return payloads

    queue = RequestQueue(Counting, lambda key, text: len(text), QueueLimits(threads=2, light_tokens=100))
    queue.start()

    async def run():
        work = [queue.submit("k", ["x" * (500 if number % 3 else 1)] * 4) for number in range(100)]
        return await asyncio.gather(*work)

    assert len(asyncio.run(run())) == 100
    assert queue.close()
    assert most[True] <= 2


def test_cancelled_items_leave_the_queue_at_once():
    async def run(queue, worker):
        first = asyncio.ensure_future(queue.submit("k", ["hold"]))
        await until(worker.begun.is_set)
        others = asyncio.ensure_future(queue.submit("k", ["x"] * 50))
        await asyncio.sleep(0)
        assert queue.waiting == 50
        others.cancel()
        await asyncio.wait([others])
        assert queue.waiting == 0
        worker.release.set()
        return await first

    with held_queue() as held:
        assert asyncio.run(run(*held)) == ["HOLD"]
        assert "x" not in held[1].finished


def test_a_batch_stops_when_all_its_clients_have_left():
    async def run(queue, worker):
        clients = [asyncio.ensure_future(queue.submit("k", [f"hold{n}"])) for n in range(2)]
        await until(worker.begun.is_set)
        for client in clients:
            client.cancel()
        await until(worker.stopped.is_set)
        return await queue.submit("k", ["next"])

    with held_queue() as held:
        assert asyncio.run(run(*held)) == ["NEXT"]
        assert held[1].finished == ["next"]
        assert held[0].ready


def test_a_client_cannot_fill_the_queue():
    async def of(client, queue, texts):
        current_client.set(client)
        return await queue.submit("k", texts)

    async def run(queue, worker):
        first = asyncio.ensure_future(of("first", queue, ["hold"]))
        await until(worker.begun.is_set)
        greedy = [asyncio.ensure_future(of("greedy", queue, ["x"])) for _ in range(100)]
        await asyncio.sleep(0.001)
        modest = asyncio.ensure_future(of("modest", queue, ["y"] * 4))
        worker.release.set()
        return await asyncio.gather(first, modest, *greedy, return_exceptions=True)

    with held_queue(queue_sentences=20) as held:
        _, modest, *greedy = asyncio.run(run(*held))
    assert modest == ["Y"] * 4
    rejected = [error for error in greedy if isinstance(error, ApiError)]
    assert len(rejected) == 90
    assert all(error.status == 503 for error in rejected)


def test_batches_become_smaller_if_they_take_longer_than_allowed():
    """A sentence takes at least 20 ms, so that a batch of 0.1 s has at most 5."""
    batches: list[list[str]] = []

    class Slow(UppercaseWorker):
        def work(self, key, payloads):
            time.sleep(0.02 * len(payloads))
            return super().work(key, payloads)

    limits = QueueLimits(gather_seconds=0.01, batch_seconds=0.1, batch_tokens=20)
    queue = RequestQueue(lambda: Slow(batches), lambda key, text: 1, limits)
    queue.start()

    async def run():
        await asyncio.gather(*(queue.submit("k", ["x"]) for _ in range(40)))

    asyncio.run(run())
    queue.close()
    assert len(batches[0]) == 20
    assert max(map(len, batches[1:])) <= 5


def test_a_batch_of_a_key_that_is_not_shared_has_one_item():
    batches: list[list[str]] = []
    queue = RequestQueue(
        lambda: UppercaseWorker(batches), lambda key, text: 1, QueueLimits(), shares_batch=lambda key: key == "shared"
    )
    queue.start()

    async def run():
        await asyncio.gather(*(queue.submit(key, ["x"] * 5) for key in ("alone", "shared")))

    asyncio.run(run())
    queue.close()
    assert sum(len(batch) == 1 for batch in batches) >= 5


def test_closing_is_bounded_although_a_thread_is_busy():
    release, begun = threading.Event(), threading.Event()

    class Busy:
        def work(self, key, payloads):
            begun.set()
            release.wait()  # as in compiled code, which does not check whether it is needed
            return payloads

    queue = RequestQueue(Busy, lambda key, text: 1, QueueLimits(batch_tokens=1))
    queue.start()

    async def run():
        work = [asyncio.ensure_future(queue.submit("k", [text])) for text in "abc"]
        await until(begun.is_set)
        ended = await asyncio.to_thread(queue.close, 0.01)
        return ended, await asyncio.gather(*work, return_exceptions=True)

    ended, answers = asyncio.run(run())
    assert not ended
    assert not queue.has_ended
    assert [answer.status for answer in answers] == [503] * 3
    release.set()
    assert queue.close()
    assert queue.has_ended


def test_closing_stops_a_batch_at_its_next_step():
    async def run(queue, worker):
        caller = asyncio.ensure_future(queue.submit("k", ["hold"]))
        await until(worker.begun.is_set)
        ended = await asyncio.to_thread(queue.close, 0.01)
        [answer] = await asyncio.gather(caller, return_exceptions=True)
        return ended, answer

    with held_queue() as held:
        ended, answer = asyncio.run(run(*held))
    assert ended
    assert isinstance(answer, ApiError)
    assert "shutting down" in answer.message


class FailingMaker:
    """Makes workers, but fails the given number of times."""

    def __init__(self, failures: float, before: int = 0):
        self.failures, self.before, self.calls = failures, before, 0
        self.lock = threading.Lock()

    def __call__(self):
        with self.lock:
            self.calls += 1
            if self.before < self.calls <= self.before + self.failures:
                raise MemoryError
        return UppercaseWorker([])


QUICK = Backoff(first_seconds=0.001, most_seconds=0.004, give_up_seconds=3600)


def test_a_worker_that_cannot_be_made_is_tried_again():
    maker = FailingMaker(7)
    queue = RequestQueue(maker, lambda key, text: 1, QueueLimits(backoff=QUICK))
    queue.start()

    async def run():
        await until(lambda: queue.ready)
        answer = await queue.submit("k", ["a"])
        await until(lambda: maker.calls == 9)  # seven failures, and a worker in each of the two threads
        return answer

    assert asyncio.run(run()) == ["A"]
    assert not queue.has_failed
    queue.close()
    assert maker.calls == 9


def test_a_dead_worker_whose_replacement_fails_once_is_replaced_later():
    """All threads lose their worker, and making another one fails at first."""
    maker = FailingMaker(2, before=2)
    queue = RequestQueue(maker, lambda key, text: 1, QueueLimits(backoff=QUICK))
    queue.start()

    async def run():
        await until(lambda: maker.calls == 2)
        for _ in range(2):
            with pytest.raises(ApiError) as error:
                await queue.submit("k", ["die"])
            assert error.value.status == 503
        await until(lambda: queue.ready)
        return await queue.submit("k", ["a"])

    assert asyncio.run(run()) == ["A"]
    queue.close()


def test_during_an_outage_requests_are_rejected_at_once():
    maker = FailingMaker(float("inf"), before=2)
    backoff = Backoff(first_seconds=30, most_seconds=30, give_up_seconds=3600)
    queue = RequestQueue(maker, lambda key, text: 1, QueueLimits(backoff=backoff, gather_seconds=0))
    queue.start()

    async def run():
        await until(lambda: maker.calls == 2)
        while queue.ready:  # kill the workers of both threads
            with pytest.raises(ApiError):
                await queue.submit("k", ["die"])
        with pytest.raises(ApiError, match="cannot be started") as error:
            await queue.submit("k", ["a"])
        return error.value

    error = asyncio.run(run())
    assert error.status == 503
    assert 28 <= error.retry_after <= 30
    assert not queue.has_failed
    assert queue.close()


def test_an_outage_that_lasts_is_a_failure():
    backoff = Backoff(first_seconds=0.001, most_seconds=0.001, give_up_seconds=0.01)
    queue = RequestQueue(FailingMaker(float("inf")), lambda key, text: 1, QueueLimits(backoff=backoff))
    queue.start()
    asyncio.run(until(lambda: queue.has_failed))
    assert not queue.ready
    assert queue.close()


def test_delays_between_attempts_double_up_to_a_limit(caplog):
    maker = FailingMaker(8)
    backoff = Backoff(first_seconds=0.001, most_seconds=0.004, give_up_seconds=3600)
    queue = RequestQueue(maker, lambda key, text: 1, QueueLimits(backoff=backoff))
    queue.start()
    asyncio.run(until(lambda: queue.ready))
    queue.close()
    delays = Counter(re.search(r"next attempt in (\S+) s", record.getMessage())[1] for record in caplog.records)
    assert sum(delays.values()) == 8
    assert {"0.001", "0.004"} <= set(delays) <= {"0.001", "0.002", "0.004"}
