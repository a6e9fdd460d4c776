"""Runs cases in warm processes with limits of time and memory.

A process uses one damaged sample after the other, and a new one replaces it when it fails or has done `BATCH` cases. A
failure counts if it occurs again in a process that does nothing else.
"""

from __future__ import annotations

import os
import random
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from allyouneed.errors import UserError
from benchmarks.measure.hostile.mutations import mutate
from benchmarks.measure.hostile.samples import Sample

SECONDS, MEMORY = 5, 1 << 30  # of processor time; bytes beyond those of the process at its start
_WAIT = 20  # seconds without processor time after which a process hangs
BATCH = 40
USED, REFUSED = "used", "refused"
_LONGEST_LINE = 2000  # characters of a message


class Found(NamedTuple):
    """What a case did.

    Attributes:
        number: Number of the case.
        outcome: USED, REFUSED or a description of the failure.
        seconds: Processor time.
        details: The message, or the traceback.
    """

    number: int
    outcome: str
    seconds: float
    details: str

    @property
    def failed(self) -> bool:
        """Whether the case was neither used nor refused."""
        return self.outcome not in (USED, REFUSED)


def run(sample: Sample, seed: str, numbers: Sequence[int]) -> Iterator[Found]:
    """Make cases of a sample and use them, each in at most `SECONDS` and `MEMORY`.

    Args:
        sample: The sample.
        seed: Determines the changes of a case, together with its number.
        numbers: Numbers of the cases.
    """
    pending = list(numbers)
    while pending:
        found = list(_in_a_process(sample, seed, pending[:BATCH]))
        for each in found:
            again = each.failed and len(found) > 1
            yield next(_in_a_process(sample, seed, [each.number])) if again else each
        pending = pending[len(found) :]


def _in_a_process(sample: Sample, seed: str, numbers: Sequence[int]) -> Iterator[Found]:
    """Use cases in a new process until one fails."""
    with tempfile.TemporaryDirectory(dir=_memory()) as temporary:
        receive, send = os.pipe()
        process = os.fork()
        if not process:
            os.close(receive)
            try:
                _child(sample, seed, numbers, Path(temporary), send)
            finally:
                os._exit(0)  # an error must not run on in the child, which would delete the samples
        os.close(send)
        lines = _received(receive, process)
        _, status, usage = os.wait4(process, 0)
    found = []
    for number, line in zip(numbers, lines, strict=False):
        outcome, seconds, details = line.split("\x1f")
        found.append(Found(number, outcome, float(seconds), details))
    if os.WIFSIGNALED(status) or (len(found) < len(numbers) and not (found and found[-1].failed)):
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        cause = {"SIGXCPU": "slow", "SIGKILL": "hangs"}.get(name, f"crash ({name})")
        spent = usage.ru_utime + usage.ru_stime - sum(each.seconds for each in found)
        found.append(Found(numbers[len(found)], cause, spent, cause))
    return iter(found)


def _memory() -> str | None:
    """Return a folder in memory for the cases, which are written and read once."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _received(receive: int, process: int) -> list[str]:
    """Return the lines that a process writes; kill it if it only waits, for a writer of a pipe for example."""
    parts, before = [], -1.0
    with open(receive, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], _WAIT)
            if ready:
                if not (part := pipe.read(1 << 16)):
                    break
                parts.append(part)
                continue
            if (now := _processor_time(process)) == before:
                os.kill(process, signal.SIGKILL)
            before = now
    return b"".join(parts).decode("utf-8", "replace").split("\x1e")[:-1]


def _processor_time(process: int) -> float:
    return sum(map(float, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _child(sample: Sample, seed: str, numbers: Sequence[int], folder: Path, send: int) -> None:
    """Use cases until one fails, and write an outcome for each."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for number in numbers:
        copy = folder / str(number)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        shutil.copytree(sample.folder, copy / "sample")
        mutate(copy / "sample", sample.part, number, random.Random(f"{seed} {number}"))
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        began = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(began + SECONDS) + 1, resource.RLIM_INFINITY))
        outcome, details = _outcome(sample, copy)
        seconds = time.process_time() - began
        if seconds > SECONDS:
            outcome = "slow"
        os.write(send, f"{outcome}\x1f{seconds:.3f}\x1f{details[-30_000:]}\x1e".encode("utf-8", "backslashreplace"))
        if outcome not in (USED, REFUSED):
            break
        shutil.rmtree(copy, ignore_errors=True)


def _outcome(sample: Sample, folder: Path) -> tuple[str, str]:
    try:
        sample.use(folder / "sample", folder / "run")
    except UserError as error:
        message = str(error)
        is_line = "\n" not in message and len(message) < _LONGEST_LINE
        return REFUSED if is_line else "refused in several lines", message.replace("\x1e", " ").replace("\x1f", " ")
    except BaseException as error:
        return _place(error), traceback.format_exc().replace("\x1e", " ").replace("\x1f", " ")
    return USED, ""


def _place(error: BaseException) -> str:
    """Return the type of an error, and the last line of the package that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/allyouneed/" in frame.filename] or frames
    return f"{type(error).__name__} at {'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}"
