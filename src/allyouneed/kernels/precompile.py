"""Compilation of kernels before they are needed, in several processes, since Numba compiles one kernel at a time.

`python -m allyouneed.kernels.precompile NAME ...` compiles kernels into the cache on disk.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from allyouneed.kernels.launch import compile_kernel


def precompile(groups: Sequence[Sequence[str]], on_cold: Callable[[], None]) -> None:
    """Load kernels from the cache, or compile them: one process per group, this process included.

    Args:
        groups: Full names of kernels; those in a group share compiled functions. The very first kernel shows whether
            the cache is empty, and should be a small one.
        on_cold: Called if the cache is empty, before all other kernels are compiled.
    """
    (probe, *first), *others = groups
    is_cold = not compile_kernel(probe)
    if is_cold:
        on_cold()
    with _compiling(others if is_cold else ()):
        for name in first:
            compile_kernel(name)
    for names in others:  # from the cache, unless a process failed or the cache cannot be written
        for name in names:
            compile_kernel(name)


@contextmanager
def _compiling(groups: Sequence[Sequence[str]]) -> Iterator[None]:
    """Compile each group in a separate process while the block runs, and wait for them."""
    command = [sys.executable, "-P", "-m", __name__]
    workers = [subprocess.Popen([*command, *names], stderr=subprocess.DEVNULL) for names in groups]
    try:
        yield
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    for kernel in sys.argv[1:]:
        compile_kernel(kernel)
