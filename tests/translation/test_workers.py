"""Answers in the order of the tasks, whoever is ready first."""

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
def test_the_order_of_the_tasks(workers):
    found = list(map_in_order(slow_first, range(5), workers))
    assert [task for task, _ in found] == [0, 1, 2, 3, 4]
    assert {alone for _, alone in found} == {workers == 1 or not installed()}
    assert list(map_in_order(slow_first, [], workers)) == []
    assert list(map_in_order(slow_first, [3], workers)) == [(3, True)]  # for one task nobody is hired


def test_what_goes_wrong_comes_up_and_the_rest_is_dropped():
    begun = []

    def work(task: int) -> int:
        begun.append(task)
        if task == 1:
            raise ValueError("broken")
        time.sleep(0.05)
        return task

    answers = map_in_order(work, range(50), 2)
    assert next(answers) == 0
    with pytest.raises(ValueError, match="broken"):
        next(answers)
    assert len(begun) < 50


def test_there_is_a_core():
    assert available_cores() >= 1
