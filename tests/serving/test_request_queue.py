"""The request queue with fake workers: no accepted item is lost, whatever happens to a worker."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.request_queue import QueueLimits, RequestQueue


class UppercaseWorker:
    """Returns payloads in upper case and records its batches."""

    def __init__(self, batches: list[list[str]], seconds: float = 0.0):
        self.batches, self.seconds = batches, seconds

    def work(self, key, payloads):
        self.batches.append(list(payloads))
        time.sleep(self.seconds)
        if "die" in payloads:
            raise SystemExit
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_fails_its_batch_and_is_replaced():
    texts = ["die" if number % 10 == 5 else f"t{number}" for number in range(60)]
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_worker_does_not_block_startup():
    def make() -> UppercaseWorker:
        raise MemoryError

    queue = RequestQueue(make, lambda key, text: 1, QueueLimits())
    queue.start()
    queue.wait_until_ready()
    queue.close()
    assert not queue.ready
