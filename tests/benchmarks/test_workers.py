"""Results and errors of worker processes, and their memory."""

import mmap

import pytest

from benchmarks.measure.memory import peak_bytes, reset_peak, resident_bytes
from benchmarks.measure.workers import WorkerFailed, run_worker


def test_exceptions_and_missing_results_become_errors():
    with pytest.raises(WorkerFailed, match=r"^KeyError: 'measure'$"):
        run_worker("growth_worker", {})
    with pytest.raises(WorkerFailed, match="nobody"):
        run_worker("nobody", {})


def test_slow_workers_are_terminated():
    with pytest.raises(WorkerFailed, match="not finished after"):
        run_worker("growth_worker", {}, timeout=0.1)


def test_the_peak_includes_freed_memory():
    reset_peak()
    before = resident_bytes()
    with mmap.mmap(-1, 100_000_000) as large:  # the C library may have kept freed memory, which is resident already
        for page in range(0, len(large), mmap.PAGESIZE):
            large[page] = 1
    assert peak_bytes() - before > 90_000_000
