"""Whether kernels work with the installed Numba: tested once for its version and this processor, in another process.

Kernels rely on parts of Numba and LLVM that any release may change, see `self_test.py`. After a failure, PyTorch
computes in place of all kernels, and a warning names what failed. The result is stored with the compiled kernels.

This module does not import Numba.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from allyouneed.kernels import disk_cache

IMPORT, COMPILE, BYTES, BF16, STORE, THREADS = CAPABILITIES = (
    "the import of Numba's internal modules",
    "the compilation of a kernel",
    "the compilation of byte products (AVX-512 VNNI)",
    "the compilation of bf16 products (AVX512_BF16)",
    "storing and loading a compiled kernel",
    "starting a kernel on OpenMP's threads",
)
PASSED = "passed"  # last line of the test's output
TESTED = ("0.62.0", "0.68.1")  # oldest and newest release of Numba that `make test-numba` tests
_SECONDS = 600  # time limit: the test takes seconds, but the machine may be slow and busy
_PREFIX = "self-test-"  # of the name of the file with the result

CRASHES = (signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_ACCIDENTS = ("MemoryError", "OSError", "RuntimeError: can't start new thread")  # may not happen again
_ERROR = re.compile(r"^[\w.]+: .+", re.MULTILINE)  # first line of an exception's message at the end of its traceback

_testing = threading.Lock()
_process: subprocess.Popen[str] | None = None
_found: Failure | None = None


class KernelWarning(UserWarning):
    """Compiled kernels are not used, or in a slower way."""


class Failure(NamedTuple):
    """The result of the test: what does not work.

    Attributes:
        capability: One of CAPABILITIES, or empty if all work.
        reason: The error message, or the signal that ended the test.
    """

    capability: str
    reason: str


def begin() -> None:
    """Start the test, if it is needed, without waiting for it; for programs that have other work to do first."""
    global _process
    with _testing:
        if _found is None and _process is None and not _is_disabled() and _read() is None:
            _process = _start()


def work() -> bool:
    """Return whether kernels can be used; the first call may wait for the test, for seconds.

    Warns:
        KernelWarning: If a capability failed, once.
    """
    global _found
    with _testing:
        if _found is None:
            _found = Failure(COMPILE, "") if _is_disabled() else _read()
            if _found is None:
                _found = _test()
            if _found.capability:
                warnings.warn(_describe(_found), KernelWarning, stacklevel=3)
    return _allows_kernels(_found)


def may_work() -> bool:
    """Return whether kernels work as far as is known, without starting a test."""
    found = _found or _read()
    return not _is_disabled() and (found is None or _allows_kernels(found))


def give_up(reason: str, is_stored: bool) -> None:
    """Use no kernels from now on, because one cannot be compiled although the test passed.

    Args:
        reason: The error message, or the signal that ended a process that compiled kernels.
        is_stored: Whether later processes need not try again.

    Warns:
        KernelWarning: Always.
    """
    global _found
    _found = Failure(COMPILE, reason)
    if is_stored:
        _write(_found)
    warnings.warn(_describe(_found), KernelWarning, stacklevel=2)


def openmp_fails() -> bool:
    """Return whether a test found that kernels cannot be started on OpenMP's threads; does not start a test."""
    return _found is not None and _found.capability == THREADS


def _allows_kernels(found: Failure) -> bool:
    return found.capability in ("", THREADS)


def _is_disabled() -> bool:
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def _test() -> Failure:
    """Run the test, or wait for the one that was begun; store the result unless it was an accident."""
    try:
        process = _process or _start()
    except OSError as error:  # the limit of processes is reached
        return Failure(IMPORT, str(error))
    found = _finish(process)
    if (process.returncode >= 0 or -process.returncode in CRASHES) and not found.reason.startswith(_ACCIDENTS):
        _write(found)
    return found


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", f"{__package__}.self_test"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is not an error of Numba
    )


def _finish(process: subprocess.Popen[str]) -> Failure:
    """Wait for the test and return its result."""
    try:
        output, errors = process.communicate(timeout=_SECONDS)
        lines = _ERROR.findall(errors) or errors.split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {process.returncode}")
        if process.returncode < 0:
            reason = describe_signal(process.returncode)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        reason = f"no result after {_SECONDS} seconds"
    reached = [line for line in output.splitlines() if line in (*CAPABILITIES, PASSED)]
    return Failure("", "") if reached[-1:] == [PASSED] else Failure(reached[-1] if reached else IMPORT, reason)


def describe_signal(code: int) -> str:
    """Describe the negative exit code of a process that a signal ended."""
    return signal.strsignal(-code) or f"signal {-code}"


def _file() -> Path | None:
    """Return the file with the result, which is valid for these versions, this processor and these sources."""
    folder = disk_cache.folder()
    return None if folder is None else folder / f"{_PREFIX}{disk_cache.key(Path(__file__).with_name('launch.py'))}.json"


def _read() -> Failure | None:
    """Return the stored result, if there is one."""
    with suppress(OSError, ValueError):
        if file := _file():
            stored = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(stored, dict) and set(stored) == set(Failure._fields):
                return Failure(**{name: str(value) for name, value in stored.items()})
    return None


def _write(found: Failure) -> None:
    with suppress(OSError):
        if file := _file():
            for stale in file.parent.glob(f"{_PREFIX}*"):
                stale.unlink()
            file.write_text(json.dumps(found._asdict()), encoding="utf-8")


def _describe(found: Failure) -> str:
    effect = "PyTorch computes in place of compiled kernels, which is slower"
    if found.capability == THREADS:
        effect = "kernels run on Python's threads, which start more slowly"
    if _is_disabled():
        return f"{effect}: NUMBA_DISABLE_JIT is set. Unset it."
    versions = f"numba {version('numba')}, llvmlite {version('llvmlite')} and Python {platform.python_version()}"
    again = f" Delete {file} to test again." if (file := _file()) else ""
    return (
        f"{effect}: {found.capability} failed with {versions} ({found.reason}). Install a tested release: "
        f'pip install "numba>={TESTED[0]},<={TESTED[1]}".{again}'
    )
