"""Compilation of kernels in other processes.

Programs that should respond at once call `compile_in_background`. Until that process has filled the cache on disk,
`pending` is true, and every kernel's reference implementation is used. Training, whose results must not depend on
that, calls `compile_early` before it prepares text, and waits for the kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from allyouneed.kernels import capabilities, disk_cache
from allyouneed.kernels.names import LOSS

# Garbage collection, a tenth of the time, is turned off before PyTorch is loaded.
_PROGRAM = "import gc, os; gc.disable(); os.nice({}); from allyouneed.kernels.precompile import main; main()"
_GENTLE, _GENTLEST = 10, 19  # niceness: a server that translates meanwhile comes first, and measuring the speed too
TRAINING = "training-"  # part of the kernels, see `disk_cache.is_complete`
_MOST_SECONDS = 10.0  # to wait for a process that gets only what other programs leave of the processor
_process: subprocess.Popen[bytes] | None = None
_early: subprocess.Popen[bytes] | None = None


def compile_in_background() -> None:
    """Start to compile all kernels, unless they are compiled, cannot be stored or are known not to work.

    The process ends by itself, also after this one has ended: the next program then finds all kernels.
    """
    global _process
    if _process is None and _can_compile():
        _process = start(niceness=_GENTLE)


def pending() -> bool:
    """Return whether all kernels are still being compiled in the background; no kernels are used if that crashed."""
    global _process
    if (process := _process) is None:
        return False
    code = process.poll()
    if code is not None and -code in capabilities.CRASHES:
        _process = None
        capabilities.give_up(capabilities.describe_signal(code), is_stored=False)
    return code is None


def compile_early() -> None:
    """Start to compile some kernels of training, unless these are compiled or cannot be stored."""
    global _early
    if _early is None and os.environ.get("LOCAL_RANK", "0") == "0" and _can_compile(TRAINING):
        _early = start(*LOSS, niceness=_GENTLEST)


def finish_early() -> None:
    """Wait for the process of `compile_early`, if there is one; end it if it makes no progress."""
    global _early
    if _early is None:
        return
    try:
        _early.wait(_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        _early.kill()
        _early.wait()
    _early = None


def start(*names: str, niceness: int = 0) -> subprocess.Popen[bytes]:
    """Start a process that compiles kernels into the cache on disk, by default all; see `precompile.main`."""
    silent = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", _PROGRAM.format(niceness), *names]
    return subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=not names)


def _can_compile(part: str = "") -> bool:
    is_needed = find_spec("numba") is not None and not disk_cache.is_complete(part) and disk_cache.folder() is not None
    return is_needed and capabilities.may_work()
