"""Whether kernels work with the installed Numba: tested once for its version and this processor, in another process.

Kernels rely on parts of Numba and LLVM that any release may change, see `self_test.py`. After a failure, PyTorch
computes in place of all kernels, and a warning names what failed. Products of bytes and of bf16, and AMX, are tested
when they are first needed; without them, the other kernels are used. The results are stored with the compiled kernels.

This module does not import Numba.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import threading
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from allyouneed.kernels import disk_cache, processes

IMPORT, COMPILE, BYTES, BF16, AMX, STORE, THREADS = CAPABILITIES = (
    "the import of Numba's internal modules",
    "the compilation of a kernel",
    "the compilation of byte products (AVX-512 VNNI)",
    "the compilation of bf16 products (AVX512_BF16)",
    "the compilation of bf16 products (AMX)",
    "storing and loading a compiled kernel",
    "starting a kernel on OpenMP's threads",
)
PASSED = "passed"  # last line of the test's output
TESTED = ("0.62.0", "0.68.1")  # oldest and newest release of Numba that `make test-numba` tests
_SECONDS = 600  # time limit: the test takes seconds, but the machine may be slow and busy
_EFFECTS = {  # of a failure
    THREADS: "kernels run on Python's threads, which start more slowly",
    BYTES: "compute_type=int8 is not available, and translation does not use 8-bit products, which are faster",
    BF16: "kernels do not multiply in bf16, which is faster than fp32",
    AMX: "kernels multiply in bf16 without AMX, which is slower",
}

CRASHES = (signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_ACCIDENTS = ("MemoryError", "OSError", "RuntimeError: can't start new thread")  # may not happen again

_testing = threading.RLock()


class KernelWarning(UserWarning):
    """Compiled kernels are not used, or in a slower way."""


class Failure(NamedTuple):
    """The result of a test: what does not work.

    Attributes:
        capability: One of CAPABILITIES, or empty if all work.
        reason: The error message, or the signal that ended the test.
    """

    capability: str
    reason: str


class _Test:
    """A test in another process.

    Args:
        name: Name of the test, and of the file with its result.
        module: Module of this package, whose sources the result depends on.
        capability: What `self_test.py` tests, or empty for all that every kernel needs.
    """

    def __init__(self, name: str, module: str, capability: str = ""):
        self.found: Failure | None = None
        self._name, self._capability = name, capability
        self._source = Path(__file__).with_name(f"{module}.py")
        self._process: subprocess.Popen[str] | None = None

    def begin(self, kernels: tuple[str, ...] = (), niceness: int = 0) -> subprocess.Popen[str] | None:
        """Start the test, if it is needed, without waiting for it, and return its process."""
        with _testing, suppress(OSError):  # the limit of processes is reached
            if self._process is None and self.known() is None and not _is_disabled():
                self._process = self._start(kernels, niceness)
                return self._process
        return None

    def result(self) -> Failure:
        """Return the result, for which the first call may wait, and warn of a failure."""
        with _testing:
            if self.found is None:
                self.found = Failure(COMPILE, "") if _is_disabled() else self.known() or self._finish()
                if self.found.capability:
                    warnings.warn(self.describe(self.found), KernelWarning, stacklevel=4)
            return self.found

    def known(self) -> Failure | None:
        """Return the result, if it is known without a test."""
        if self.found:
            return self.found
        with suppress(OSError, ValueError):
            if file := self.file():
                stored = json.loads(file.read_text(encoding="utf-8"))
                if isinstance(stored, dict) and set(stored) == set(Failure._fields):
                    return Failure(**{name: str(value) for name, value in stored.items()})
        return None

    def store(self, found: Failure) -> None:
        """Store a result, which is valid for these versions, this processor and these sources."""
        with suppress(OSError):
            if file := self.file():
                for stale in file.parent.glob(f"{self._name}-*"):
                    stale.unlink()
                file.write_text(json.dumps(found._asdict()), encoding="utf-8")

    def file(self) -> Path | None:
        """Return the file of the result."""
        folder = disk_cache.folder()
        return None if folder is None else folder / f"{self._name}-{disk_cache.key(self._source)}.json"

    def describe(self, found: Failure) -> str:
        """Describe a failure in one line."""
        effect = _EFFECTS.get(
            self._capability or found.capability, "PyTorch computes in place of compiled kernels, which is slower"
        )
        if _is_disabled():
            return f"{effect}: NUMBA_DISABLE_JIT is set. Unset it."
        versions = f"numba {version('numba')}, llvmlite {version('llvmlite')} and Python {platform.python_version()}"
        again = f" Delete {file} to test again." if (file := self.file()) else ""
        return (
            f"{effect}: {found.capability} failed with {versions} ({found.reason}). Install a tested release: "
            f'pip install "numba>={TESTED[0]},<={TESTED[1]}".{again}'
        )

    def _start(self, kernels: tuple[str, ...] = (), niceness: int = 0) -> subprocess.Popen[str]:
        return processes.start("self_test", self._capability, *kernels, niceness=niceness, is_read=True)

    def _finish(self) -> Failure:
        """Run the test, or wait for the one that was begun; store the result unless it was an accident."""
        try:
            process = self._process = self._process or self._start()
            lines = _output(process)
        except (OSError, RuntimeError) as error:  # the limit of processes or threads is reached
            return Failure(IMPORT, str(error))
        if lines[-1:] == [PASSED]:
            found = Failure("", "")
        else:
            reached = [line for line in lines if line in CAPABILITIES]
            found = Failure(reached[-1] if reached else IMPORT, lines[-1])
        ended = -(process.poll() or 0)  # by a signal, if positive
        if not found.reason.startswith(_ACCIDENTS) and (ended <= 0 or ended in CRASHES):
            self.store(found)
        return found


def _make_tests() -> dict[str, _Test]:
    return {
        "": _Test("self-test", "launch"),
        BYTES: _Test("byte-test", "product", BYTES),
        BF16: _Test("bf16-test", "matmul", BF16),
        AMX: _Test("amx-test", "matmul_amx", AMX),
    }


_tests = _make_tests()


def begin(capability: str = "", kernels: tuple[str, ...] = (), niceness: int = 0) -> subprocess.Popen[str] | None:
    """Start a test, if it is needed, without waiting for it; for programs that have other work to do first.

    Args:
        capability: BYTES, BF16 or AMX, or empty for all that every kernel needs.
        kernels: What the process compiles after the test has passed, see `precompile.compile_named`.
        niceness: Of the process.

    Returns:
        The process, if it was started.
    """
    return _tests[capability].begin(kernels, niceness)


def work() -> bool:
    """Return whether kernels can be used; the first call may wait for the test, for seconds.

    Warns:
        KernelWarning: If a capability failed, once.
    """
    return _allows_kernels(_tests[""].result())


def supports(capability: str) -> bool:
    """Return whether kernels can multiply BYTES, BF16 or by AMX; the first call may wait for the test, for seconds.

    Warns:
        KernelWarning: If it failed, once.
    """
    return work() and not _tests[capability].result().capability


def passed(capability: str = "") -> bool:
    """Return whether a test has found no failure; may wait for the test."""
    return not _tests[capability].result().capability


def may_work(capability: str = "") -> bool:
    """Return whether kernels, or BYTES, BF16 or AMX, work as far as is known, without starting a test."""
    found = _tests[capability].known()
    return not _is_disabled() and (found is None or _allows_kernels(found))


def assume() -> None:
    """Use all capabilities without a test, in the process that tests them."""
    for test in _tests.values():
        test.found = Failure("", "")


def give_up(reason: str, is_stored: bool) -> None:
    """Use no kernels from now on, because one cannot be compiled although the test passed.

    Args:
        reason: The error message, or the signal that ended a process that compiled kernels.
        is_stored: Whether later processes need not try again.

    Warns:
        KernelWarning: Always.
    """
    test = _tests[""]
    test.found = found = Failure(COMPILE, reason)
    if is_stored:
        test.store(found)
    warnings.warn(test.describe(found), KernelWarning, stacklevel=2)


def openmp_fails() -> bool:
    """Return whether a test found that kernels cannot be started on OpenMP's threads; does not start a test."""
    found = _tests[""].found
    return found is not None and found.capability == THREADS


def describe_signal(code: int) -> str:
    """Describe the negative exit code of a process that a signal ended."""
    return signal.strsignal(-code) or f"signal {-code}"


def _allows_kernels(found: Failure) -> bool:
    return found.capability in ("", THREADS)


def _is_disabled() -> bool:
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def _output(process: subprocess.Popen[str]) -> list[str]:
    """Return the lines that a test prints, up to PASSED, or to the reason why it has failed."""
    assert process.stdout is not None
    watchdog = threading.Timer(_SECONDS, process.kill)
    watchdog.daemon = True
    watchdog.start()
    lines = list[str]()
    try:
        while lines[-1:] != [PASSED] and (line := process.stdout.readline()):
            lines += [text] if (text := line.strip()) else []
        if lines[-1:] == [PASSED]:
            return lines
        code = process.wait()
        is_late = watchdog.finished.is_set()
    finally:
        watchdog.cancel()
        process.stdout.close()
    if is_late or code < 0:
        return [*lines, f"no result after {_SECONDS} seconds" if is_late else describe_signal(code)]
    return lines if lines and lines[-1] not in CAPABILITIES else [*lines, f"exit code {code}"]
