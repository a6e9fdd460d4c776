"""Preparation threads: work off the event loop, with a time limit, which stops with its client."""

from __future__ import annotations

import asyncio
import threading

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.pipeline.preparation import PreparationThreads
from allyouneed.serving.queue.fair_queue import current_client
from allyouneed.translation.stopping import StoppedError, check_needed

LONG, HUGE = 10_000, 10_000_000


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_small_work_runs_on_the_event_loop_and_other_work_in_a_thread():
    async def run():
        threads = PreparationThreads()
        return [await threads.run(threading.get_ident, size) for size in (10, LONG)]

    small, large = asyncio.run(run())
    assert small == threading.get_ident()
    assert large != small


def test_results_and_errors_reach_the_caller():
    def fail():
        raise ValueError("damaged")

    async def run():
        threads = PreparationThreads()
        work = [threads.run(lambda n=n: n * n, LONG) for n in range(50)]
        with pytest.raises(ValueError, match="damaged"):
            await threads.run(fail, LONG)
        with pytest.raises(RuntimeError, match="SystemExit"):
            await threads.run(lambda: exit(3), LONG)
        return await asyncio.gather(*work)

    assert asyncio.run(run()) == [n * n for n in range(50)]


def test_light_work_does_not_wait_for_files():
    release = threading.Event()

    async def run():
        threads = PreparationThreads()
        files = [asyncio.ensure_future(threads.run(release.wait, HUGE)) for _ in range(20)]
        found = [await threads.run(lambda: "text", LONG) for _ in range(3)]
        assert not any(file.done() for file in files)
        release.set()
        await asyncio.gather(*files)
        return found

    assert asyncio.run(run()) == ["text"] * 3


def test_a_client_does_not_wait_for_all_files_of_another():
    order: list[int] = []
    release = threading.Event()

    async def run():
        threads = PreparationThreads(heavy_threads=1)
        blocking = asyncio.ensure_future(threads.run(release.wait, HUGE))
        await until(lambda: threads._running)
        many = [asyncio.ensure_future(threads.run(lambda: order.append(1), HUGE)) for _ in range(10)]
        await asyncio.sleep(0)

        async def of_another():
            current_client.set("another")
            await threads.run(lambda: order.append(2), HUGE)

        other = asyncio.ensure_future(of_another())
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(blocking, other, *many)

    asyncio.run(run())
    assert order.index(2) <= 1
    assert len(order) == 11


def test_work_stops_with_its_caller():
    stopped, begun = threading.Event(), threading.Event()

    def work():
        begun.set()
        try:
            while True:
                check_needed()
        except StoppedError:
            stopped.set()
            raise

    async def run():
        threads = PreparationThreads()
        caller = asyncio.ensure_future(threads.run(work, LONG))
        await until(begun.is_set)
        caller.cancel()
        await until(stopped.is_set)
        await until(lambda: threads.is_idle)

    asyncio.run(run())


def test_work_that_does_not_stop_is_abandoned_after_its_time_and_replaced():
    release = threading.Event()

    async def run():
        threads = PreparationThreads(seconds=0.01, heavy_threads=1, light_threads=0)
        with pytest.raises(ApiError, match="within") as error:
            await threads.run(release.wait, HUGE)
        assert error.value.status == 503
        assert not threads.is_idle
        release.set()
        await until(lambda: threads.is_idle)
        threads._seconds = 60
        assert await threads.run(lambda: "done", HUGE) == "done"

    asyncio.run(run())
