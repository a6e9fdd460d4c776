"""Workers: results are in the order of the tasks, regardless of which is done first."""

from __future__ import annotations

import time
from threading import current_thread, main_thread

import pytest

from allyouneed.kernels import installed
from allyouneed.translation.workers import available_cores, map_in_order


def slow_first(task: int) -> tuple[int, bool]:
    time.sleep(0.02 * (4 - task))
    return task, current_thread() is main_thread()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_in_the_order_of_the_tasks(workers):
    found = list(map_in_order(slow_first, range(5), workers))
    assert [task for task, _ in found] == [0, 1, 2, 3, 4]
    assert {in_main_thread for _, in_main_thread in found} == {workers == 1 or not installed()}
    assert list(map_in_order(slow_first, [], workers)) == []
    assert list(map_in_order(slow_first, [3], workers)) == [(3, True)]  # one task needs no thread


def test_an_error_is_raised_and_the_remaining_tasks_are_cancelled():
    started = []

    def work(task: int) -> int:
        started.append(task)
        if task == 1:
            raise ValueError("broken")
        time.sleep(0.05)
        return task

    results = map_in_order(work, range(50), 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="broken"):
        next(results)
    assert len(started) < 50


def test_there_is_at_least_one_core():
    assert available_cores() >= 1
