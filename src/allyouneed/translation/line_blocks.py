"""Blocks of lines that are translated together: large ones of a file, and those of a stream with a bounded delay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from queue import Empty, Queue
from typing import TypeVar

Line = TypeVar("Line")
_MIN_LINES, _MAX_LINES = 250, 4000  # lines per block, which is sorted by length; a small first block is done early
_FIRST_LINES = 32  # of a stream, before the speed of translation is known
_MOST_GROWTH = 4  # of a block, relative to the previous one
_WAITING_LINES = 20_000  # that are read ahead


@dataclass(frozen=True)
class Pace:
    """How long the lines of a stream may wait for each other.

    Attributes:
        gather_seconds: How long a block waits for more lines.
        block_seconds: About how long the translation of a block may take.
    """

    gather_seconds: float
    block_seconds: float


PIPE, INTERACTIVE = Pace(0.1, 2.0), Pace(0.0, 0.5)


def blocks_of_file(lines: Iterator[Line], done: int = 0) -> Iterator[list[Line]]:
    """Yield blocks of increasing size.

    The same lines end a block wherever the first one begins, so that a resumed translation has the same blocks.

    Args:
        lines: The lines to divide.
        done: Number of lines of the file before them.
    """
    count = end = _MIN_LINES
    while True:
        while end <= done:
            count = min(2 * count, _MAX_LINES)
            end += count
        if not (block := list(islice(lines, end - done))):
            return
        yield block
        done = end


def blocks_of_stream(lines: Iterator[Line], pace: Pace) -> Iterator[list[Line]]:
    """Yield what has arrived, while a thread reads ahead; a block ends when no line follows in time.

    The time between the blocks counts as that of their translation, and decides on the size of the next one.

    Args:
        lines: The lines; their iterator waits for input.
        pace: How long lines may wait.
    """
    waiting: Queue[Line | _End] = Queue(_WAITING_LINES)
    threading.Thread(target=_read, args=(lines, waiting), name="lines", daemon=True).start()
    limit: float = _FIRST_LINES
    while True:
        block, end = _gather(waiting, int(limit), pace.gather_seconds)
        if block:
            started = time.monotonic()
            yield block
            seconds = max(1e-6, time.monotonic() - started)
            limit = max(1.0, min(_MAX_LINES, _MOST_GROWTH * limit, len(block) * pace.block_seconds / seconds))
        if end:
            if end.error:
                raise end.error
            return


@dataclass(frozen=True)
class _End:
    """The end of a stream, because of an error or without."""

    error: BaseException | None = None


def _read(lines: Iterator[Line], waiting: Queue[Line | _End]) -> None:
    try:
        for line in lines:
            waiting.put(line)
    except BaseException as error:  # raised where the blocks are used
        waiting.put(_End(error))
    else:
        waiting.put(_End())


def _gather(waiting: Queue[Line | _End], limit: int, seconds: float) -> tuple[list[Line], _End | None]:
    """Wait for a line, then for more until the limit, the end of the stream, or the end of the time."""
    block: list[Line] = []
    deadline = None
    while len(block) < limit:
        try:
            if deadline is None:
                line = waiting.get()
                deadline = time.monotonic() + seconds
            elif (left := deadline - time.monotonic()) > 0:
                line = waiting.get(timeout=left)
            else:
                line = waiting.get_nowait()
        except Empty:
            break
        if isinstance(line, _End):
            return block, line
        block.append(line)
    return block, None
