"""Measurements in separate processes, since peak memory never decreases and compiled code stays loaded.

The parent calls `run_worker("growth_worker", request)`; the worker calls `serve_request(work)` in its `__main__`.
Request and result are JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PREFIX = "result: "  # marks the result among lines that libraries print
_MAX_MESSAGE = 160  # characters


class WorkerFailed(Exception):
    """A worker failed; the message is one line."""


def run_worker(
    module: str,
    request: Mapping,
    environment: Mapping[str, str] | None = None,
    timeout: float = 3600,
    prefix: Sequence[str] = (),
) -> dict:
    """Run benchmarks.measure.MODULE in a fresh process.

    Args:
        module: Name of the worker module.
        request: Argument of the worker's function.
        environment: Additional environment variables.
        timeout: Time limit in seconds.
        prefix: Command that starts the process, with its arguments.

    Raises:
        WorkerFailed: If the worker raises an exception, is killed, or exceeds the time limit.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", f"benchmarks.measure.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,  # so that its compiler processes can be killed with it
    )
    try:
        output, errors = process.communicate(json.dumps(request), timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise WorkerFailed(f"not finished after {timeout:g} seconds") from error
        raise
    results = [line.removeprefix(_PREFIX) for line in output.splitlines() if line.startswith(_PREFIX)]
    if not results:
        raise WorkerFailed(_describe_exit(process.returncode, errors))
    result = json.loads(results[-1])
    if "error" in result:
        raise WorkerFailed(result["error"])
    return result


def run_ranks(
    module: str,
    request: Mapping,
    count: int,
    environment: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
    prefixes: Sequence[Sequence[str]] = (),
    timeout: float = 600,
) -> list[dict]:
    """Run one worker per rank at the same time, with torchrun's variables in its environment.

    Args:
        module: Name of the worker module.
        request: Argument of the worker's function.
        count: Number of ranks.
        environment: Additional environment variables.
        address: Address of rank 0.
        prefixes: Command that starts each rank; by default none.
        timeout: Time limit in seconds, also for ranks that wait for one that failed.

    Returns:
        The results by rank.

    Raises:
        WorkerFailed: If a worker fails.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    common = {**(environment or {}), "MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}

    def run(rank: int) -> dict:
        prefix = prefixes[rank] if prefixes else ()
        own = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        return run_worker(module, request, own, timeout, prefix)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def serve_request(work: Callable[[dict], dict]) -> None:
    """Run the requested work in the worker process and print its result or error."""
    request = json.load(sys.stdin)
    try:
        result = work(request)
    except Exception as error:  # any error becomes a table row in the parent
        result = {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:_MAX_MESSAGE]}
    print(f"\n{_PREFIX}{json.dumps(result)}", flush=True)


def _describe_exit(code: int, errors: str) -> str:
    if code == -signal.SIGKILL:
        return "killed, probably out of memory"
    if code < 0:
        return f"terminated by signal {-code}"
    return (errors.strip().splitlines() or [f"exit code {code} without a message"])[-1][:_MAX_MESSAGE]
