"""What comes back from a process of its own, and from one that does not answer."""

import pytest

from benchmarks.measure.memory import forget_peak, peak_bytes, resident_bytes
from benchmarks.measure.workers import WorkerFailed, ask


def test_an_exception_and_a_missing_answer_become_reasons():
    with pytest.raises(WorkerFailed, match=r"^KeyError: 'measure'$"):
        ask("growth_worker", {})
    with pytest.raises(WorkerFailed, match="nobody"):
        ask("nobody", {})


def test_one_that_takes_too_long_is_ended():
    with pytest.raises(WorkerFailed, match="not done after"):
        ask("growth_worker", {}, timeout=0.1)


def test_the_peak_remembers_what_was_freed():
    forget_peak()
    before = resident_bytes()
    large = bytearray(b"1") * 100_000_000
    del large
    assert peak_bytes() - before > 90_000_000
