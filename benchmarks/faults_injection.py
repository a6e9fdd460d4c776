"""Faults for `benchmarks/faults.py`: the preloaded library of `faults.c`, and commands in child processes.

A child is forked from a process that has loaded everything and has one thread, so that a command costs only its own
work. In the child, the library is armed with a fault, or the process signals itself at a given Python call.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from allyouneed import cli

KINDS = ("open", "read", "create", "write", "fsync", "rename", "unlink", "mkdir", "truncate")  # as in faults.c
READS, CHANGES = KINDS[:2], KINDS[2:]
ACTIONS = ("none", "kill before", "kill within", "fail", "fail from then on", "short", "signal", "clock")  # likewise
WAIT = 300  # seconds, after which a command hangs; other processes may use the machine
_COUNTS = "counts.json"
_CHILD = {signal.SIGCHLD}


class Fault(NamedTuple):
    """A fault at a call of the C library.

    Attributes:
        kinds: Kinds of calls that are counted.
        number: The call at which the fault occurs, from 1 on.
        action: One of `ACTIONS`.
        value: The error number, the signal, or the seconds by which the clock is moved.
        then: Kinds of calls that also fail from then on.
    """

    kinds: Sequence[str]
    number: int
    action: str
    value: int = 0
    then: Sequence[str] = ()


class Moment(NamedTuple):
    """Signals at Python calls, which are counted in the main thread from 1 on."""

    calls: Sequence[int]
    signal: int


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Exit code; negative: the signal that ended the process.
        text: Its output.
        hung: Whether it was killed because it took too long.
    """

    code: int
    text: str
    hung: bool = False

    @property
    def errors(self) -> list[str]:
        """The lines that report an error."""
        return [line for line in self.text.splitlines() if line.startswith("error: ")]


class Children:
    """Runs commands in children.

    Args:
        watched: Folder whose files the faults concern, relative to the current folder.
    """

    def __init__(self, watched: str):
        self.watched = watched
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"]) if "LD_PRELOAD" in os.environ else None

    def run(self, command: Sequence[str], fault: Fault | Moment | None = None, trace: Path | None = None) -> Ended:
        """Run a command of `allyouneed` in the current folder."""
        if len(os.listdir("/proc/self/task")) > 1:
            raise RuntimeError("a child may hang, since this process has several threads")
        output = Path("output.txt")
        signal.pthread_sigmask(signal.SIG_BLOCK, _CHILD)  # until `_wait` asks for it
        process = os.fork()
        if not process:
            self._become(command, fault, output, trace)
        hung, status = _wait(process)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, output.read_text(encoding="utf-8", errors="replace"), hung)

    def counts(self) -> dict[str, int]:
        """Return the calls of the last command by kind, and those of Python ("calls") if it had a `Moment`."""
        return json.loads(Path(_COUNTS).read_text())

    def _become(self, command: Sequence[str], fault: Fault | Moment | None, output: Path, trace: Path | None) -> None:
        """Run the command in this child, which then exits."""
        code = 70
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _CHILD)
        try:
            to, null = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND), os.open("/dev/null", 0)
            for source, number in ((null, 0), (to, 1), (to, 2)):
                os.dup2(source, number)
            sys.argv = ["allyouneed", *command]
            counter = _Counter(fault) if isinstance(fault, Moment) else None
            self._arm(fault if isinstance(fault, Fault) else None, trace)
            sys.setprofile(counter)
            try:
                cli.main()
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 1
            finally:
                sys.setprofile(None)
                counts = self._disarm()
            Path(_COUNTS).write_text(json.dumps({**counts, "calls": counter.count if counter else 0}))
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def _arm(self, fault: Fault | None, trace: Path | None) -> None:
        if self._library is None:
            return
        fault = fault or Fault((), 0, "none")
        if trace:
            self._library.faults_trace(os.open(trace, os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
        masks = (sum(1 << KINDS.index(kind) for kind in kinds) for kinds in (fault.kinds, fault.then))
        folder = os.fsencode(Path(self.watched).absolute())
        number = ctypes.c_long(fault.number)
        self._library.faults_arm(folder, *masks, number, ACTIONS.index(fault.action), fault.value)

    def _disarm(self) -> dict[str, int]:
        if self._library is None:
            return {}
        counts = (ctypes.c_long * len(KINDS))()
        self._library.faults_counts(counts)
        self._library.faults_disarm()
        return dict(zip(KINDS, counts, strict=True))


class _Counter:
    """A profile function that counts Python calls and sends signals at some of them."""

    def __init__(self, moment: Moment):
        self.count, self._moment = 0, moment

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.count += 1
            if self.count in self._moment.calls:
                os.kill(os.getpid(), self._moment.signal)


def _wait(process: int) -> tuple[bool, int]:
    """Wait for a child, and kill it if it takes too long; the time in which both are suspended is not counted."""
    for _ in range(WAIT):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return False, status
        signal.sigtimedwait(_CHILD, 1)
    os.kill(process, signal.SIGKILL)
    return True, os.waitpid(process, 0)[1]
