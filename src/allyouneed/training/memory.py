"""Memory that PyTorch frees stays with the process."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # names of glibc's malloc.h, M_...
_MEBIBYTE = 2**20


def keep_freed_memory() -> None:
    """Tells glibc not to give tensors' memory back to the kernel between uses; elsewhere does nothing.

    A training step frees and takes hundreds of tensors of megabytes. Given back and taken anew, every page of them is
    zeroed by the kernel at its first touch (docs/experiments.md has what that took).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 * _MEBIBYTE)  # the largest that glibc takes
        mallopt(_TRIM_THRESHOLD, 2047 * _MEBIBYTE)
        mallopt(_TOP_PAD, 64 * _MEBIBYTE)
