"""A few damaged files of each format, and the fuzzer itself: it must notice what it looks for."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz import runner, samples
from tests.fuzz.mutations import mutated
from tests.fuzz.runner import Case, run, run_case
from tests.fuzz.samples import Target, targets

CASES = 6  # of each target


@pytest.mark.parametrize("target", targets(), ids=lambda target: f"{target.kind}-{target.name}")
def test_damaged_files_are_refused_or_kept(target, tmp_path, monkeypatch):
    monkeypatch.setattr("resource.setrlimit", lambda *limits: None)
    for number in range(CASES):
        case = Case.make([target], 1, number)
        found = run_case(case, number, tmp_path)
        assert found.failure is None or found.failure[0] == "slow", found.failure[1]
        if number == 0:
            assert found.outcome == "read"


def test_the_same_seed_gives_the_same_cases():
    chosen = targets()
    assert Case.make(chosen, 1, 1000) == Case.make(chosen, 1, 1000)
    assert Case.make(chosen, 1, 1000).data != Case.make(chosen, 2, 1000).data
    assert mutated(b"", [], random.Random(1)) is not None


def test_failures_of_all_kinds_are_noticed(monkeypatch):
    def faulty(name: str, data: bytes, folder: Path) -> str:
        if name == "crash":
            os.kill(os.getpid(), signal.SIGTERM)
        while name == "slow":
            pass
        if name == "hang":
            time.sleep(1000)
        if name == "memory":
            return str(len(bytearray(300 << 20)))
        raise ValueError("wrong")

    monkeypatch.setitem(samples.CHECKS, "test", faulty)
    monkeypatch.setattr(runner, "BASE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "_HANGING", 3)
    names = ("crash", "slow", "hang", "memory", "error")
    found: set[str] = set()

    class Enough(Exception):
        pass

    def note(failure):
        found.add(failure.case.target.name)
        if found == set(names):
            raise Enough

    with pytest.raises(Enough):
        run([Target("test", name, [b"a"], []) for name in names], 1, 2, 1, note)
