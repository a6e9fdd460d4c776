"""Compilation of kernels in another process, while PyTorch computes in their place.

Programs that should respond at once call `compile_in_background`. Until that process has filled the cache on disk,
`pending` is true, and every kernel's reference implementation is used.
"""

from __future__ import annotations

import subprocess
import sys

from allyouneed.kernels import disk_cache

_process: subprocess.Popen[bytes] | None = None


def compile_in_background() -> None:
    """Start to compile all kernels, unless they are compiled or cannot be stored.

    The process ends by itself, also after this one has ended: the next program then finds all kernels.
    """
    global _process
    if _process is not None or disk_cache.is_complete() or disk_cache.folder() is None:
        return
    command, silent = [sys.executable, "-P", "-m", "allyouneed.kernels.precompile"], subprocess.DEVNULL
    _process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)


def pending() -> bool:
    """Return whether kernels are still being compiled in the background."""
    return _process is not None and _process.poll() is None
