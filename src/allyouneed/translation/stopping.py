"""Stopping work in a thread whose result nobody needs any more, such as that of a client that has left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_thread = threading.local()


class StoppedError(Exception):
    """Raised in work that was stopped."""


@contextmanager
def stopping_when(is_unneeded: Callable[[], bool]) -> Iterator[None]:
    """Stop the work that this thread does in the block as soon as `is_unneeded()`, at its next `check_needed`."""
    _thread.is_unneeded = is_unneeded
    try:
        yield
    finally:
        del _thread.is_unneeded


def check_needed() -> None:
    """Raise `StoppedError` if this thread's work is no longer needed; long work calls it every few milliseconds.

    Raises:
        StoppedError: If it is stopped, see `stopping_when`.
    """
    is_unneeded: Callable[[], bool] | None = getattr(_thread, "is_unneeded", None)
    if is_unneeded is not None and is_unneeded():
        raise StoppedError("the result is no longer needed")
