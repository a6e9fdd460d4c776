"""Compilation of kernels before they are needed, in several processes, since Numba compiles one kernel at a time.

`python -m allyouneed.kernels.precompile [NAME ...]` compiles kernels, by default all of them, into the cache on disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from allyouneed.kernels import capabilities, disk_cache
from allyouneed.kernels.launch import compile_kernel, load_kernel
from allyouneed.kernels.target import has_bf16

# Kernels by purpose. Those of a group share functions, which Numba reads once for all kernels of a process.
_ENGINE = "allyouneed.translation.engine"
SEARCH = (f"{_ENGINE}.greedy.greedy", f"{_ENGINE}.greedy.step")
VERIFICATION = f"{_ENGINE}.verification.search_drafted"
BEAM = (f"{_ENGINE}.beam.search_beam",)
STEP = tuple(f"allyouneed.kernels.{name}" for name in ("attention._attend", "attention_backward._attend_backward"))
DROPOUT = tuple(f"allyouneed.kernels.dropout.{name}" for name in ("_drop", "_drop_onto"))
LOSS = tuple(f"allyouneed.kernels.loss.{name}" for name in ("_lay_out", "_token_loss"))
PRODUCTS = tuple(f"allyouneed.kernels.matmul.{name}" for name in ("_lay_out", "_lay_out_transposed", "_multiply"))
BF16_PRODUCTS = tuple(f"{name}_bf16" for name in PRODUCTS)
ENCODER = (f"{_ENGINE}.encoder.encode", "allyouneed.kernels.product._multiply")
ALL = (
    (*ENCODER, *SEARCH, VERIFICATION),
    (*BEAM, *DROPOUT, *STEP, *LOSS, *PRODUCTS, *(BF16_PRODUCTS if has_bf16() else ())),
)


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


def fill_cache(on_cold: Callable[[], None] = lambda: None) -> None:
    """Compile all kernels that are not in the cache on disk; do nothing if kernels do not work.

    Args:
        on_cold: Called before the first kernel is compiled.
    """
    if not capabilities.work():
        return
    with disk_cache.locked():
        precompile(ALL, on_cold)
        if capabilities.work():
            disk_cache.mark_complete()


@contextmanager
def _compiling(groups: Sequence[Sequence[str]]) -> Iterator[None]:
    """Compile each group in a separate process while the block runs, and wait for them."""
    command = [sys.executable, "-P", "-m", f"{__package__}.precompile"]
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
    if sys.argv[1:]:
        for kernel in sys.argv[1:]:
            compile_kernel(kernel)
    else:
        os.nice(10)  # a server that translates meanwhile comes first
        fill_cache()
