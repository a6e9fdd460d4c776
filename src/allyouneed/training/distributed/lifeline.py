"""Heartbeats of the processes of a run, and the reason for which all of them end.

PyTorch's collective operations wait for hours for a process that does not answer, and must: the others wait for rank 0
while it prepares the text. A host that was cut off is therefore found by missing heartbeats. Each process counts up in
the store of the rendezvous; rank 0 watches all others, and they watch rank 0. The first process that ends with an error
stores the reason, so that the others end too, and the user reads one line instead of one per process.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from torch.distributed import DistError
from torch.distributed.distributed_c10d import Store

from allyouneed.errors import UserError
from allyouneed.interruption import Interrupted
from allyouneed.terminal import say
from allyouneed.training.distributed.launch import local_rank

INTERVAL = 2.0  # seconds between heartbeats
MISSED = 30  # heartbeats that are missed before a process counts as lost
TEMPORARY_FAILURE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed
_GRACE = 5.0  # seconds for the main thread to end, before the process is ended
_FAREWELL = 10.0  # seconds that the process with the store waits for the others
_LEFT = b"left"
_COMMUNICATION = re.compile("gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out", re.IGNORECASE)
_REMEDY = (
    "The last checkpoint is kept: run the same command again to resume, or have torchrun restart the processes "
    "(--max-restarts)."
)


class PeerError(UserError):
    """The end of another process of the run, or the loss of the connection to it."""


@dataclass(frozen=True)
class Ending:
    """Why a run ended.

    Attributes:
        rank: The process that found the reason.
        host: Its host.
        message: The reason.
        exit_code: Exit code of all processes.
    """

    rank: int
    host: str
    message: str
    exit_code: int


class Lifeline:
    """Exchanges heartbeats with the other processes of the run, in two threads, until it is closed.

    Args:
        store: Store of this run and this start of its processes, with a connection that nothing else uses.
        rank: Index of this process.
        count: Number of processes.
        host: Name of this host.
        server: The store if it is in this process and ends with it; None if another process has it.
        interval: Seconds between heartbeats.
        missed: Number of heartbeats that are missed before a process counts as lost. They are counted, because the
            clock also advances while the whole machine is suspended.
        end: Ends the process with an exit code, when the main thread waits for a process that was lost.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        count: int,
        host: str,
        server: Store | None = None,
        interval: float = INTERVAL,
        missed: int = MISSED,
        end: Callable[[int], object] = os._exit,
    ):
        self.rank, self.host = rank, host
        self._store, self._count, self._server = store, count, server
        self._interval, self._missed, self._exit = interval, missed, end
        self._closed, self._silent = threading.Event(), 0
        self._exchanging = threading.Lock()
        self._is_alone = False  # without the store, a process does not know what the others report
        self.ending: Ending | None = None
        store.set(f"alive/{rank}", "0")

    def start(self) -> None:
        """Begin to exchange heartbeats; all processes have been created."""
        for work in (self._exchange, self._watch):
            threading.Thread(target=work, name="lifeline", daemon=True).start()

    def close(self) -> None:
        """Leave the run; the process with the store waits until the others have left too."""
        is_free = self._exchanging.acquire(timeout=_GRACE)
        was_closed = self._closed.is_set()
        self._closed.set()
        if not is_free:  # the store does not answer
            return
        with suppress(RuntimeError):  # the store may have ended
            if not was_closed:
                self._say_farewell()
        self._exchanging.release()

    def _say_farewell(self) -> None:
        self._store.set(f"alive/{self.rank}", _LEFT.decode())
        self._store.add("left", 1)
        deadline = time.monotonic() + _FAREWELL
        while self._server is not None and self._store.add("left", 0) < self._count and time.monotonic() < deadline:
            time.sleep(0.05)

    def explain(self, error: BaseException) -> BaseException:
        """Announce an error of this process to the others, or find out which other process caused it.

        The message is printed here, by one process of each host: torchrun may end this process before it exits.

        Returns:
            The exception to raise: the error, or a `PeerError` if the run ends for another reason.
        """
        failed = isinstance(error, RuntimeError) and not isinstance(error, UserError)
        if failed and (isinstance(error, DistError) or _COMMUNICATION.search(str(error))):
            return _reported(self._peer_error(self._announce(_lost(shortened(error)), TEMPORARY_FAILURE)))
        message, code = f"{type(error).__name__}: {shortened(error)}", 1
        if isinstance(error, UserError | Interrupted):
            message, code = str(error), error.exit_code
        first = self._announce(message, code)
        if not isinstance(error, UserError):
            return error
        return _reported(error if first.rank == self.rank else self._peer_error(first))

    def _announce(self, message: str, code: int) -> Ending:
        """Store the reason of the end, unless another process has stored one, and return that which is stored."""
        own = Ending(self.rank, self.host, message, code)
        if self.ending is None:
            self.ending = own
            try:
                self.ending = Ending(**json.loads(self._store.compare_set("ending", "", json.dumps(asdict(own)))))
            except RuntimeError:
                self._is_alone = True
        return self.ending

    def _peer_error(self, ending: Ending) -> PeerError:
        is_own = ending.rank == self.rank
        error = PeerError(ending.message if is_own else f"rank {ending.rank} on {ending.host}: {ending.message}")
        error.exit_code = ending.exit_code
        known = not is_own and (ending.host == self.host or local_rank() > 0)
        error.is_reported = known or (self._is_alone and local_rank() > 1)  # the first on this host may be lost
        return error

    def _exchange(self) -> None:
        """Send and read heartbeats; operations on the store may block if its host cannot be reached."""
        watched = range(1, self._count) if self.rank == 0 else [0]
        seen: dict[int, bytes] = {}
        missed = dict.fromkeys(watched, 0)
        for number in itertools.count(1):
            if self._closed.wait(self._interval):
                return
            try:
                with self._exchanging:
                    if self._closed.is_set():
                        return
                    self._store.set(f"alive/{self.rank}", str(number))
                    if self._store.check(["ending"]):
                        self.ending = Ending(**json.loads(self._store.get("ending")))
                    signs = self._store.multi_get([f"alive/{rank}" for rank in watched])
            except RuntimeError as error:
                return self._lose(f"the store is gone: {shortened(error)}")
            if self.ending is not None:
                return self._finish()
            self._silent = 0
            for rank, sign in zip(watched, signs, strict=True):
                missed[rank] = missed[rank] + 1 if sign == seen.get(rank) and sign != _LEFT else 0
                seen[rank] = sign
            if lost := [rank for rank, times in missed.items() if times >= self._missed]:
                return self._lose(f"no heartbeat of {_named(lost)} for {self._missed * self._interval:.0f} seconds")

    def _watch(self) -> None:
        """End the process if the store does not answer; an operation on it would block this thread too."""
        while not self._closed.wait(self._interval):
            self._silent += 1
            if self._silent > self._missed:
                reason = _lost(f"the store has not answered for {self._missed * self._interval:.0f} seconds")
                self.ending = self.ending or Ending(self.rank, self.host, reason, TEMPORARY_FAILURE)
                return self._finish()

    def _lose(self, reason: str) -> None:
        if not self._closed.is_set():
            self._announce(_lost(reason), TEMPORARY_FAILURE)
            self._finish()

    def _finish(self) -> None:
        """End the process, unless the main thread does: it may wait in a collective operation."""
        if self.ending is None or self._closed.wait(_GRACE):
            return
        self._exit(_reported(self._peer_error(self.ending)).exit_code)


def _reported(error: UserError) -> UserError:
    """Print an error, unless another process does."""
    if not error.is_reported:
        say(f"error: {error}")
    error.is_reported = True
    return error


def let_others_exit(error: BaseException) -> None:
    """Exit after the process that ended the run, whose exit code torchrun then reports."""
    if isinstance(error, PeerError):
        with suppress(KeyboardInterrupt):  # SIGTERM of torchrun
            time.sleep(_GRACE)


def _lost(reason: str) -> str:
    return f"lost another process of this run ({reason}). {_REMEDY}"


def _named(ranks: Sequence[int]) -> str:
    return f"rank{'s'[: len(ranks) > 1]} {', '.join(map(str, ranks))}"


def shortened(error: BaseException) -> str:
    """Shorten a message of PyTorch, which may begin with a line of its source and end with general advice."""
    text = re.sub(r"^\[\S+\.cc:\d+\] ", "", " ".join(str(error).split()))
    return text.partition(". This ")[0].partition(" Exception raised from ")[0].rstrip(".")[:200]
