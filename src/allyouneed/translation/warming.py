"""Compilation of all kernels in advance, for `allyouneed warm` and for servers."""

from __future__ import annotations

import time
from collections.abc import Callable

from allyouneed import kernels
from allyouneed.errors import UserError


def warm(report: Callable[[str], None]) -> None:
    """Compile all kernels that are not yet compiled for this machine.

    Args:
        report: Called with what is done.

    Raises:
        UserError: If Numba is not installed or does not work, or compiled kernels cannot be stored.
    """
    if not kernels.installed():
        raise UserError("Numba is missing, so there are no kernels to compile. Install it: pip install numba")
    if not kernels.work():
        raise UserError("kernels cannot be compiled, see the warning above; PyTorch computes in their place.")
    folder, started, was_cold = kernels.disk_cache.folder(), time.monotonic(), list[bool]()
    if folder is None:
        raise UserError("there is no folder for compiled kernels that can be written. Set NUMBA_CACHE_DIR to one.")

    def announce() -> None:
        if not was_cold:  # else another process has compiled some
            report("compiling kernels for this machine ...")
        was_cold.append(True)

    has_all = kernels.precompile.fill_cache(announce)  # also if the folder is marked, since files may be damaged
    if not kernels.work():
        raise UserError("kernels cannot be compiled, see the warning above; PyTorch computes in their place.")
    if not has_all:
        raise UserError("compiled kernels cannot be stored, see the warning above.")
    if was_cold:
        report(f"compiled all kernels in {time.monotonic() - started:.1f} seconds: {folder}")
    else:
        report(f"all kernels are compiled: {folder}")


def can_store() -> bool:
    """Return whether compiled kernels outlive this process; also true where there are none. Does not test kernels."""
    are_used = kernels.installed() and kernels.capabilities.may_work()
    return not are_used or kernels.disk_cache.folder() is not None


def compile_all(on_cold: Callable[[], None] = lambda: None) -> None:
    """Compile all kernels that are not yet compiled; do nothing if kernels do not work.

    Args:
        on_cold: Called before the first kernel is compiled.
    """
    if kernels.work() and not kernels.disk_cache.is_complete():
        kernels.precompile.fill_cache(on_cold)
