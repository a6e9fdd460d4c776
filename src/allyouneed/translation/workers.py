"""Several batches at the same time, each by one thread.

Threads, not processes: kernels run without Python's lock, and what is left to Python between them is little, so that
weights are shared without anything being sent. A batch alone on one core computes more than on several that wait for
each other at every product.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from allyouneed import kernels

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def in_turn(work: Callable[[Task], Answer], tasks: Sequence[Task], workers: int) -> Iterator[Answer]:
    """Each task's answer, in the order of the tasks. What was not begun is dropped when the caller stops early."""
    if workers == 1 or len(tasks) < 2 or not kernels.installed():
        yield from map(work, tasks)
        return

    def alone(task: Task) -> Answer:
        with kernels.launch.one_thread():
            return work(task)

    pool = ThreadPoolExecutor(min(workers, len(tasks)), thread_name_prefix="translate")
    try:
        yield from pool.map(alone, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """That this process may run on, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
