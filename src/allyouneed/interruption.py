"""Interruption by Ctrl-C (SIGINT), SIGTERM, or SIGHUP when a terminal is closed.

Long work ends with `Interrupted`, which says what was interrupted and what is kept, and knows the signal: shells expect
the exit code 128 + signal. Work that must not stop in between defers signals and checks for them. A signal that was
ignored when the program started stays ignored (`nohup`, and Ctrl-C for background jobs).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_WORKER = "interruptible work"  # name of a thread
Result = TypeVar("Result")
_CAUSES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP (the terminal was closed)"}


class Interrupted(KeyboardInterrupt):
    """Work that was ended by a signal.

    Attributes:
        number: The signal.
        message: What was interrupted and what is kept; empty if unknown.
    """

    def __init__(self, number: int = signal.SIGINT, message: str = ""):
        super().__init__(number, message)  # as arguments, so that the exception can be pickled
        self.number, self.message = number, message

    def __str__(self) -> str:
        return self.message or f"interrupted by {cause(self.number)}"

    @property
    def exit_code(self) -> int:
        """Exit code of a process that the signal ended, as shells report it: 130, 143 or 129."""
        return 128 + self.number


def cause(number: int) -> str:
    """Name a signal for a message, for example "Ctrl-C"."""
    name = signal.Signals(number).name
    return _CAUSES.get(name, name)


class Deferred:
    """A deferred interruption.

    Attributes:
        number: The first signal that was received; None if there was none.
    """

    number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.number is not None


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raise `Interrupted` at a signal; in threads other than the main thread, handlers are unchanged."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(handle):
        yield


@contextmanager
def deferring_interrupts() -> Iterator[Deferred]:
    """Record the first signal instead of raising it; a further Ctrl-C raises `Interrupted` at once.

    Further SIGTERM and SIGHUP are ignored: process managers and closing terminals send several.
    """
    deferred = Deferred()

    def handle(number: int, frame: FrameType | None) -> None:
        if deferred.requested and number == signal.SIGINT:
            raise Interrupted(number)
        deferred.number = deferred.number or number

    with _handling(handle):
        yield deferred


@contextmanager
def describing_interrupts(describe: Callable[[], str]) -> Iterator[None]:
    """Give an interruption of the block a message; the innermost description of nested blocks counts.

    Args:
        describe: Returns what was interrupted and what is kept; called after the interruption.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted()
        message = interrupted.message or f"interrupted by {cause(interrupted.number)} {describe()}"
        raise Interrupted(interrupted.number, message) from error


def run_interruptibly(work: Callable[[], Result]) -> Result:
    """Run compiled code that works for long without Python, which handles signals only between its own instructions.

    The work runs in another thread, while this one waits for it and for signals. An interruption abandons the thread.

    Args:
        work: A function that releases Python's lock while it works.

    Returns:
        Its result; its exception is raised.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=_WORKER, daemon=True).start()
    return outcome.result()


def exit_now(code: int) -> NoReturn:
    """Exit the process, without waiting for work that `run_interruptibly` has abandoned."""
    if any(thread.name == _WORKER for thread in threading.enumerate()):
        with ignoring_closed_terminal():
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


@contextmanager
def ignoring_closed_terminal() -> Iterator[None]:
    """Ignore the error of writing to a terminal that was closed, so that work can still be saved."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {}
    if threading.current_thread() is threading.main_thread():  # signals can be handled in the main thread only
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not a handler of Python
                previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
