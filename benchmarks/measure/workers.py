"""Measuring in processes of their own: a peak of memory never goes down, and compiled code stays loaded.

The parent asks, `ask("growth_worker", request)`; the worker answers, `answer(work)` in its `__main__`. JSON both ways.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_ANSWER = "answer: "  # begins the line that counts: libraries may print too
_LONGEST_REASON = 160  # characters


class WorkerFailed(Exception):
    """The reason, in one line."""


def ask(module: str, request: Mapping, environment: Mapping[str, str] | None = None, timeout: float = 3600) -> dict:
    """Runs benchmarks.measure.MODULE in a fresh process. timeout: seconds.

    Errors: `WorkerFailed` for an exception there, a process that was killed, or one that took too long.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.measure.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,  # so that its compilers can be ended with it
    )
    try:
        said, complained = process.communicate(json.dumps(request), timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise WorkerFailed(f"not done after {timeout:g} seconds") from error
        raise
    answers = [line.removeprefix(_ANSWER) for line in said.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        raise WorkerFailed(_reason(process.returncode, complained))
    found = json.loads(answers[-1])
    if "failed" in found:
        raise WorkerFailed(found["failed"])
    return found


def answer(work: Callable[[dict], dict]) -> None:
    """In the worker: does the work that was asked for, and says what came out, or why nothing did."""
    request = json.load(sys.stdin)
    try:
        found = work(request)
    except Exception as error:  # whatever it is, it is a row with a reason to the parent
        found = {"failed": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:_LONGEST_REASON]}
    print(f"\n{_ANSWER}{json.dumps(found)}", flush=True)


def _reason(code: int, complained: str) -> str:
    if code == -signal.SIGKILL:
        return "killed: out of memory, it seems"
    if code < 0:
        return f"ended by signal {-code}"
    return (complained.strip().splitlines() or [f"ended with {code}, saying nothing"])[-1][:_LONGEST_REASON]
