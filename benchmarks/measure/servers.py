"""Servers on loopback: start, wait for the first answer, processor time, stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_INTERVAL, _PATIENCE = 0.05, 120.0  # seconds between requests to a server that starts, and in total


class RunningServer(NamedTuple):
    """A server that answers requests."""

    port: int
    process: int

    def cpu_seconds(self) -> float:
        """Return the processor time that the server and its processes have used so far."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)], ticks[int(folder.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
        family = {self.process}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return sum(ticks.get(member, 0) for member in family) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_server(
    command: Sequence[str], body: bytes, environment: Mapping[str, str] | None = None, after: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """Run a server for the duration of the block, which begins with its first answer.

    Args:
        command: The command without the port, which follows.
        body: A request for `/translate`.
        environment: Environment of the process; None for that of this one.
        after: Arguments after the port.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([*command, str(port), *after], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/translate", body, server)
        yield RunningServer(port, server.pid)
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str, body: bytes, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(_INTERVAL)
    sys.exit(f"{url} does not respond")
