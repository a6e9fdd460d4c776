"""Processor time and energy of a command with all its processes, while it runs (Linux)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
_INTERVAL = 1.0  # seconds between looks
_PATIENCE = 120.0  # seconds for a clean exit after SIGTERM


class Usage(NamedTuple):
    """What a command used: wall-clock and processor seconds, and joules of all packages (None if unreadable)."""

    seconds: float
    cpu_seconds: float
    joules: float | None

    def __add__(self, other: tuple) -> Usage:
        later = Usage(*other)
        joules = None if later.joules is None else (self.joules or 0.0) + later.joules
        return Usage(self.seconds + later.seconds, self.cpu_seconds + later.cpu_seconds, joules)


class Meter:
    """Joules since creation, from RAPL's counters of packages, which wrap around."""

    def __init__(self, powercap: Path = POWERCAP):
        self._packages = [each for each in sorted(powercap.glob("*-rapl:*")) if each.name.count(":") == 1]
        self._last = self._read()
        self._total = 0.0

    def joules(self) -> float | None:
        """Return the joules so far, or None if the counters are not readable; call at least once a minute."""
        now = self._read()
        if not self._last or len(now) != len(self._last):
            return None
        for (value, span), (before, _) in zip(now, self._last, strict=True):
            self._total += (value - before) % (span + 1) / 1e6
        self._last = now
        return self._total

    def _read(self) -> list[tuple[int, int]]:
        """Read the counter and its largest value, in microjoules, of each package."""
        try:
            return [
                (int((each / "energy_uj").read_text()), int((each / "max_energy_range_uj").read_text()))
                for each in self._packages
            ]
        except OSError:
            return []


def session_seconds(session: int) -> float:
    """Return the processor seconds of all processes of a session, including those that have ended."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()  # after the name; field 0 is the state
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))  # user and system, own and of waited-for children
    return ticks / os.sysconf("SC_CLK_TCK")


def run_measured(command: Sequence[str], seconds: float, look: Callable[[Usage], None], log: Path) -> Usage:
    """Run a command for at most the given time.

    Args:
        command: The command; its output is appended to `log`.
        seconds: Time after which it receives SIGTERM.
        look: Called about once a second, and at the end, with what the command has used.
        log: The file for its output.

    Returns:
        The resources that the command used in total.

    Raises:
        SystemExit: If the command fails before its time is over.
    """
    meter, start = Meter(), time.perf_counter()
    usage = Usage(0.0, 0.0, meter.joules())
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    stopped = False
    try:
        while process.poll() is None:
            elapsed = time.perf_counter() - start
            if elapsed >= seconds and not stopped:
                process.terminate()
                stopped = True
            if elapsed >= seconds + _PATIENCE:
                os.killpg(process.pid, signal.SIGKILL)
            if used := session_seconds(process.pid):
                usage = Usage(elapsed, used, meter.joules())
            look(usage)
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(_PATIENCE)
        stopped = True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    look(usage)
    if process.returncode and not stopped:
        raise SystemExit(f"{command[0]} failed; see {log}")
    return usage
