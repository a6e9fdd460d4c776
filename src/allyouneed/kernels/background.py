"""Compilation of kernels in other processes.

Programs that should respond at once call `compile_in_background`. Until that process has filled the cache on disk,
`pending` is true, and every kernel's reference implementation is used. Training, whose results must not depend on
that, calls `compile_early` before it loads PyTorch and prepares text, and waits for the kernels.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import NamedTuple

from allyouneed.kernels import capabilities, disk_cache, processes
from allyouneed.kernels.names import AMX, ATTENTION, BF16, OTHER_STEPS

_GENTLE, _GENTLEST = 10, 19  # niceness: a server that translates meanwhile comes first, and measuring the speed too
_MOST_SECONDS = 10.0  # to wait for a process that gets only what other programs leave of the processor
_process: subprocess.Popen[str] | None = None
_early: dict[str, _Early] = {}  # by group


class _Early(NamedTuple):
    """A process that compiles a group of kernels, perhaps after it has tested a capability."""

    process: subprocess.Popen[str]
    tested: str | None


def compile_in_background() -> None:
    """Start to compile all kernels, unless they are compiled, cannot be stored or are known not to work.

    The process ends by itself, also after this one has ended: the next program then finds all kernels.
    """
    global _process
    if _process is None and _can_compile():
        with suppress(OSError):  # the limit of processes is reached
            _process = processes.start("precompile", niceness=_GENTLE)


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


def wait() -> None:
    """Wait until kernels are no longer being compiled in the background."""
    if _process is not None:
        _process.wait()


def compile_early(*groups: str) -> None:
    """Start to compile groups of kernels of `names.py`, unless they are compiled or cannot be stored.

    Each is compiled by a process. The first one tests whether kernels work, if that is not known.

    Args:
        groups: By default those that all training needs.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0" or find_spec("numba") is None:
        return
    for group in groups or (ATTENTION, OTHER_STEPS):
        capability = {BF16: capabilities.BF16, AMX: capabilities.AMX}.get(group, "")
        if group in _early:
            continue
        if not _can_compile(group):
            capabilities.begin(capability)
            continue
        with suppress(OSError):  # the limit of processes is reached
            if process := capabilities.begin(capability, (group,), _GENTLE):
                _early[group] = _Early(process, capability)
            else:
                _early[group] = _Early(processes.start("precompile", group, niceness=_GENTLEST), None)


def finish_early(on_wait: Callable[[], None] = lambda: None) -> None:
    """Wait for the processes of `compile_early`; end those that make no progress, and use no kernels if one crashed.

    Args:
        on_wait: Called if one has not ended.
    """
    while _early:
        _, (process, tested) = _early.popitem()
        try:
            if process.poll() is None:
                on_wait()
            code = process.wait(_MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            continue
        if -code in capabilities.CRASHES and (tested is None or capabilities.passed(tested)):
            capabilities.give_up(capabilities.describe_signal(code), is_stored=False)


def _can_compile(group: str = "") -> bool:
    is_needed = find_spec("numba") is not None and not disk_cache.is_complete(group) and disk_cache.folder() is not None
    return is_needed and capabilities.may_work()
