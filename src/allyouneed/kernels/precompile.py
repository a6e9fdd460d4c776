"""Compilation of kernels before they are needed, in several processes, since Numba compiles one kernel at a time.

A process that runs `main` compiles the kernels or groups of kernels that its arguments name, by default all of them,
into the cache on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from allyouneed import kernels
from allyouneed.kernels import capabilities, disk_cache, processes
from allyouneed.kernels.launch import compile_kernel, is_stored, load_kernel
from allyouneed.kernels.names import ALL, AMX, AMX_PRODUCTS, BF16, BF16_PRODUCTS, GROUPS
from allyouneed.kernels.target import has_amx, has_bf16, has_vnni

_NEEDS = {BF16: has_bf16, AMX: has_amx}  # by group


def precompile(groups: Sequence[Sequence[str]], on_cold: Callable[[], None]) -> None:
    """Load kernels from the cache, or compile them: one process per group, this process included.

    If a kernel cannot be compiled, PyTorch computes in place of all kernels, see `capabilities.give_up`.

    Args:
        groups: Full names of kernels; those in a group share compiled functions.
        on_cold: Called if a kernel is not in the cache, before any is compiled.
    """
    missing = [[name for name in group if not load_kernel(name)] for group in groups]
    if not any(missing):
        return
    on_cold()
    if disk_cache.folder() is None:  # another process could not hand over its results
        missing = [[name for group in missing for name in group]]
    first, *others = filter(None, missing)
    try:
        with _compiling(others):
            for name in first:
                compile_kernel(name)
        for names in others:  # from the cache, unless a process failed or the cache cannot be written
            for name in names:
                compile_kernel(name)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # any, since they come from inside Numba
        reason = next(iter(str(error).strip().splitlines()), "")
        capabilities.give_up(f"{type(error).__name__}: {reason}", is_stored=True)


def fill_cache(on_cold: Callable[[], None] = lambda: None) -> bool:
    """Compile all kernels that are not in the cache on disk; do nothing if kernels do not work.

    Args:
        on_cold: Called before the first kernel is compiled, here or by a process that is waited for.

    Returns:
        Whether the cache has all kernels.
    """
    capabilities.begin()
    if has_vnni():
        capabilities.begin(capabilities.BYTES)
    if has_bf16():
        capabilities.begin(capabilities.AMX if has_amx() else capabilities.BF16)
    if not capabilities.work():
        return False
    with disk_cache.locked(on_cold):
        engine, others = ALL
        bf16 = AMX_PRODUCTS if kernels.has_amx() else BF16_PRODUCTS if kernels.has_bf16() else ()
        groups = engine, (*others, *bf16)
        precompile(groups, on_cold)
        return mark_complete([name for group in groups for name in group])


def mark_complete(names: Iterable[str], group: str = "") -> bool:
    """Record that the cache has a group of kernels if it has, see `disk_cache`; return whether it has."""
    has_all = capabilities.work() and all(map(is_stored, names))
    if has_all:
        disk_cache.mark_complete(group)
    return has_all


@contextmanager
def _compiling(groups: Sequence[Sequence[str]]) -> Iterator[None]:
    """Compile each group in a separate process while the block runs, and wait for them."""
    workers = [processes.start("precompile", *names, is_alone=False) for names in groups]
    try:
        yield
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def compile_named(names: Sequence[str]) -> None:
    """Compile kernels into the cache on disk.

    Args:
        names: Full names of kernels, or groups of `names.py`. The processor may lack the instructions of a group.
    """
    for name in names:
        compiled = GROUPS.get(name, (name,)) if name not in _NEEDS or _NEEDS[name]() else ()
        for kernel in compiled:
            compile_kernel(kernel)
        if name in GROUPS:
            mark_complete(compiled, name)


def main() -> None:
    """Compile the kernels that are named in the command, by default all of them."""
    if sys.argv[1:]:
        compile_named(sys.argv[1:])
    else:
        fill_cache()
