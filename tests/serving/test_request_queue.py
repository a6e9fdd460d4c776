"""The queue by itself, with workers of our own: nothing accepted is lost, whatever happens to a worker."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.request_queue import Service


class Upper:
    """Answers in capitals; keeps the batches it got."""

    def __init__(self, batches: list[list[str]], seconds: float = 0.0):
        self.batches, self.seconds = batches, seconds

    def work(self, kind, payloads):
        self.batches.append(list(payloads))
        time.sleep(self.seconds)
        if "die" in payloads:
            raise SystemExit
        if "bad" in payloads:
            raise ValueError("bad")
        return [payload.upper() for payload in payloads]


def run(work, seconds: float = 0.0, **settings) -> tuple[list, list[list[str]]]:
    """Results of `work(service)`'s tasks (exceptions too), and the batches."""
    batches: list[list[str]] = []
    service = Service(lambda: Upper(batches, seconds), lambda kind, payload: len(payload), **settings)
    service.start()

    async def all_of_it():
        return await asyncio.gather(*work(service), return_exceptions=True)

    try:
        return asyncio.run(all_of_it()), batches
    finally:
        service.close()


def test_single_sentences_share_batches_and_keep_their_answers():
    texts = [f"t{number:02}" for number in range(60)]
    found, batches = run(lambda s: [s.submit("k", [text]) for text in texts], gather_seconds=0.05)
    assert found == [[text.upper()] for text in texts]
    assert len(batches) < 10


def test_a_batch_has_no_more_tokens_than_allowed_and_one_kind():
    def work(service):
        return [service.submit(kind, [kind * 4] * 5) for kind in "ab"]

    _, batches = run(work, batch_tokens=9, gather_seconds=0.01)
    assert max(map(len, batches)) == 2
    assert all(len(set(batch)) == 1 for batch in batches)


def test_a_sentence_larger_than_a_batch_goes_alone():
    found, batches = run(lambda s: [s.submit("k", ["x" * 50]), s.submit("k", ["y"])], batch_tokens=9)
    assert found == [["X" * 50], ["Y"]]
    assert ["x" * 50] in batches


def test_a_full_queue_refuses_with_a_time_to_come_back():
    found, _ = run(lambda s: [s.submit("k", ["a"] * 3) for _ in range(3)], queue_sentences=4, seconds=0.05)
    refused = [error for error in found if isinstance(error, ApiError)]
    assert refused
    assert all(error.status == 503 and error.retry_after >= 1 for error in refused)
    assert any(answers == ["A"] * 3 for answers in found)


def test_one_bad_sentence_does_not_spoil_the_others():
    found, _ = run(lambda s: [s.submit("k", [text]) for text in ("a", "bad", "c")], gather_seconds=0.05)
    assert found[0] == ["A"]
    assert isinstance(found[1], ValueError)
    assert found[2] == ["C"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_answers_what_it_had_and_is_replaced():
    texts = ["die" if number % 10 == 5 else f"t{number}" for number in range(60)]
    found, _ = run(lambda s: [s.submit("k", [text]) for text in texts], threads=2, batch_tokens=8)
    for text, answer in zip(texts, found, strict=True):
        assert answer == [text.upper()] or (isinstance(answer, ApiError) and answer.status == 503), text
    assert sum(isinstance(answer, list) for answer in found) > 30


def test_what_nobody_waits_for_is_not_worked_on():
    async def one_leaves(service):
        first = asyncio.ensure_future(service.submit("k", ["slow"]))
        await asyncio.sleep(0.02)
        leaving = asyncio.ensure_future(service.submit("k", ["left"]))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return await first

    found, batches = run(lambda s: [one_leaves(s)], seconds=0.1, gather_seconds=0.0)
    assert found == [["SLOW"]]
    assert ["left"] not in batches


def test_closing_finishes_what_was_accepted_and_refuses_more():
    batches: list[list[str]] = []
    service = Service(lambda: Upper(batches, 0.05), lambda kind, payload: 1, batch_tokens=1)
    service.start()

    async def close_meanwhile():
        waiting = [asyncio.ensure_future(service.submit("k", [text])) for text in "abcd"]
        await asyncio.sleep(0.02)
        closing = threading.Thread(target=service.close)
        closing.start()
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match="shutting down"):
            await service.submit("k", ["late"])
        return await asyncio.gather(*waiting)

    assert asyncio.run(close_meanwhile()) == [["A"], ["B"], ["C"], ["D"]]
    assert not service.ready


def test_it_is_ready_once_a_worker_is_made():
    may_begin = threading.Event()

    def make() -> Upper:
        may_begin.wait()
        return Upper([])

    service = Service(make, lambda kind, payload: 1)
    service.start()
    waiting = threading.Thread(target=service.wait_until_ready)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    may_begin.set()
    waiting.join(5)
    assert service.ready
    service.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_cannot_be_made_is_not_waited_for():
    def make() -> Upper:
        raise MemoryError

    service = Service(make, lambda kind, payload: 1)
    service.start()
    service.wait_until_ready()
    service.close()
    assert not service.ready
