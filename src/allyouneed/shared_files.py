"""Files that several processes use, also on other machines: waiting for them, and locks."""

from __future__ import annotations

import fcntl
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


def lock(descriptor: int, seconds: float = 0.0) -> bool:
    """Lock an open file until it is closed or this process ends, unless another process has locked it.

    Args:
        descriptor: Descriptor of the file.
        seconds: How long to wait for the other process.

    Returns:
        Whether this process has the lock.

    Raises:
        OSError: If the file system does not support locks.
    """
    return wait_until(lambda: _lock_now(descriptor), seconds)


def _lock_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
