"""Compilation of kernels in another process, while PyTorch computes in their place.

Programs that should respond at once call `compile_in_background`. Until that process has filled the cache on disk,
`pending` is true, and every kernel's reference implementation is used.
"""

from __future__ import annotations

import subprocess
import sys

from allyouneed.kernels import capabilities, disk_cache

_process: subprocess.Popen[bytes] | None = None


def compile_in_background() -> None:
    """Start to compile all kernels, unless they are compiled, cannot be stored or are known not to work.

    The process ends by itself, also after this one has ended: the next program then finds all kernels.
    """
    global _process
    if _process is not None or disk_cache.is_complete() or disk_cache.folder() is None or not capabilities.may_work():
        return
    command, silent = [sys.executable, "-P", "-m", "allyouneed.kernels.precompile"], subprocess.DEVNULL
    _process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)


def pending() -> bool:
    """Return whether kernels are still being compiled in the background; no kernels are used if that crashed."""
    global _process
    if (process := _process) is None:
        return False
    code = process.poll()
    if code is not None and -code in capabilities.CRASHES:
        _process = None
        capabilities.give_up(capabilities.describe_signal(code), is_stored=False)
    return code is None
