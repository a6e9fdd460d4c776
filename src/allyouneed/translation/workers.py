"""Parallel translation of several batches, each in one thread.

Threads are sufficient, since compiled kernels release the GIL and little Python code runs between them, and they share
the weights. One core per batch is more efficient than several cores that synchronise at every product.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from allyouneed import kernels

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_order(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Apply `work` to the tasks in `workers` threads and yield the results in the order of the tasks.

    Tasks that have not started are cancelled if the caller stops early. No threads are used for one worker, for one
    task, or without Numba.
    """
    if workers == 1 or len(tasks) < 2 or not kernels.available():
        yield from map(work, tasks)
        return

    def single_threaded(task: Task) -> Result:
        with kernels.launch.threads(1):
            return work(task)

    pool = ThreadPoolExecutor(min(workers, len(tasks)), thread_name_prefix="translate")
    try:
        yield from pool.map(single_threaded, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Return the number of cores that this process may run on, if the system reports it; else all cores.

    Processes that torchrun starts on one machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, cores // max(1, int(processes))) if processes.isdecimal() else cores
