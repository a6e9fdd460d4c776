"""Waiting for files of other machines on a shared file system, which may show them late."""

from __future__ import annotations

import time
from collections.abc import Callable

VISIBLE_SECONDS = 90.0  # NFS clients may answer from their caches for a minute
_POLL_SECONDS = 0.2


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds.

    Args:
        condition: The condition, which is tested at least once.
        seconds: How long to wait.

    Returns:
        Whether it holds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
