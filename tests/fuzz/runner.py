"""Runs cases in processes that may hang, crash or exhaust memory, and collects what they find.

A case is determined by the seed and its number, so that it is made anew when its process has died.
"""

from __future__ import annotations

import io
import multiprocessing
import random
import resource
import signal
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.mutations import mutated
from tests.fuzz.samples import CHECKS, Target

BASE_SECONDS, SECONDS_PER_BYTE = 2.0, 40e-6  # of processor time; a tenth of the speed of the slowest readers
BASE_MEMORY, MEMORY_PER_BYTE = 256 << 20, 500
_SLOW = "a.pdf"  # read in a process of its own, hence a tenth as often as others
_HANGING = 120  # seconds without a sign of life
_MOST_MEMORY = 3 << 30
_LARGEST_UNPACKED = 20 << 20


class Case(NamedTuple):
    """A damaged file."""

    target: Target
    data: bytes

    @classmethod
    def make(cls, targets: Sequence[Target], seed: int, number: int) -> Case:
        """Return the case of a number; the first cases of a target are its undamaged samples."""
        chance = random.Random(f"{seed} {number}")
        if number < len(targets):
            return cls(targets[number], targets[number].samples[0])
        [target] = chance.choices(targets, [1 if each.name == _SLOW else 10 for each in targets])
        others = [*target.samples, target.sample(chance)]
        return cls(target, mutated(target.sample(chance), others, chance))


class Found(NamedTuple):
    """What a case did.

    Attributes:
        number: Number of the case.
        outcome: What the check returned; "" if it failed.
        seconds: Processor time.
        failure: Description of the failure: its place, and the traceback.
    """

    number: int
    outcome: str
    seconds: float
    failure: tuple[str, str] | None


@dataclass
class Outcome:
    """Results of a target.

    Attributes:
        cases: Number of cases by outcome.
        slowest: Highest processor time, in seconds.
    """

    cases: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass
class Failure:
    """A failure, and the first case that shows it."""

    case: Case
    number: int
    text: str
    count: int = 1


@dataclass
class Report:
    """Results of a run by the target's kind and name, and failures by their place."""

    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    failures: dict[tuple[str, str, str], Failure] = field(default_factory=dict)

    def add(self, case: Case, found: Found) -> Failure | None:
        """Count a case; return its failure if it is new."""
        kind, name, *_ = case.target
        outcome = self.outcomes.setdefault((kind, name), Outcome())
        outcome.cases[found.outcome or "failed"] += 1
        outcome.slowest = max(outcome.slowest, found.seconds)
        if found.failure is None:
            return None
        place, text = found.failure
        key = kind, name, place
        if key in self.failures:
            self.failures[key].count += 1
            return None
        self.failures[key] = Failure(case, found.number, text)
        return self.failures[key]


def size_of(data: bytes) -> int:
    """Return the size of a file, of an archive after unpacking."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return min(_LARGEST_UNPACKED, len(data) + sum(entry.file_size for entry in archive.infolist()))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        return len(data)


def run_case(case: Case, number: int, folder: Path) -> Found:
    """Check a case in this process, with limits of processor time and memory in proportion to its size."""
    size = size_of(case.data)
    seconds, memory = BASE_SECONDS + SECONDS_PER_BYTE * size, BASE_MEMORY + MEMORY_PER_BYTE * size
    failure, outcome = None, ""
    most_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    began = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(began + 2 * seconds) + 2, resource.RLIM_INFINITY))
    try:
        outcome = CHECKS[case.target.kind](case.target.name, case.data, folder)
    except BaseException as error:  # every kind of failure is counted
        if isinstance(error, KeyboardInterrupt):
            raise
        failure = _place(error), "".join(traceback.format_exception(error))
    took = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - most_before
    if failure is None and took > seconds:
        failure = "slow", f"{took:.1f} s of processor time for {size:,} bytes\n"
    if failure is None and grown > memory:
        failure = "memory", f"{grown >> 20:,} MiB for {size:,} bytes\n"
    return Found(number, "" if failure else outcome, took, failure)


def _place(error: BaseException) -> str:
    """Return the type of an error, and the last line of the package that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/allyouneed/" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno} ({frames[-1].name})"


def _work(targets: Sequence[Target], seed: int, first: int, step: int, connection: Connection) -> None:
    """Run cases until the connection is closed."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = first
    with tempfile.TemporaryDirectory() as folder:
        while True:
            connection.send(number)
            case = Case.make(targets, seed, number)
            found = run_case(case, number, Path(folder))
            connection.send(found)
            if found.failure and found.failure[0].startswith(("memory", "MemoryError")):
                return  # the highest memory use of a process never falls
            number += step


class _Worker:
    def __init__(self, targets: Sequence[Target], seed: int, first: int, step: int):
        self.targets, self.seed, self.step = targets, seed, step
        self.start(first)

    def start(self, number: int) -> None:
        """Start a process at a case."""
        self.number, self.heard = number, time.monotonic()
        self.connection, other = multiprocessing.Pipe(duplex=False)
        arguments = (self.targets, self.seed, number, self.step, other)
        self.process = multiprocessing.get_context("fork").Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def receive(self) -> Found | None:
        """Return the next result; of a process that died, what killed it."""
        try:
            message = self.connection.recv()
        except EOFError:
            return self.dead()
        self.heard = time.monotonic()
        if isinstance(message, Found):
            self.number = message.number + self.step
            return message
        self.number = message
        return None

    def dead(self) -> Found | None:
        """Start anew after a process has died or was killed."""
        self.process.join()
        code, number = self.process.exitcode or 0, self.number
        self.start(number if code == 0 else number + self.step)
        if code == 0:
            return None
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        cause = {"SIGXCPU": "too much processor time", "SIGKILL": "hangs"}.get(cause, f"crash ({cause})")
        return Found(number, "", 0.0, (cause, f"{cause}\n"))

    def kill_if_hanging(self) -> None:
        """Kill a process that has done nothing for long."""
        if time.monotonic() - self.heard > _HANGING:
            self.process.kill()


def run(
    targets: Sequence[Target], seed: int, minutes: float, processes: int, on_failure=lambda failure: None
) -> Report:
    """Run cases for the given time.

    Args:
        targets: What is fed.
        seed: Seed of the cases.
        minutes: Duration.
        processes: Number of processes.
        on_failure: Called with each new failure.
    """
    report, end = Report(), time.monotonic() + 60 * minutes
    workers = [_Worker(targets, seed, first, processes) for first in range(processes)]
    try:
        while time.monotonic() < end:
            ready = wait([worker.connection for worker in workers], timeout=1)
            for worker in workers:
                worker.kill_if_hanging()
                found = worker.receive() if worker.connection in ready else None
                if found and (failure := report.add(Case.make(targets, seed, found.number), found)):
                    on_failure(failure)
    finally:
        for worker in workers:
            worker.process.kill()
    return report
