"""Worker processes that apply a function to blocks of text, in order and in bounded memory.

Each worker is a separate Python program that reads pickled blocks from a pipe. Unlike the processes of
`multiprocessing`, it neither runs the user's script again nor inherits locks of other threads, and it ends with the
program that started it, even if that is killed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar, cast

from allyouneed.errors import UserError

Block = TypeVar("Block")
Result = TypeVar("Result")
_AHEAD = 2  # blocks for each worker: one in work, and one that waits
_PROGRAM = "import sys; sys.path[:] = {path!r}; from allyouneed.data.workers import serve; serve()"


def usable_cores() -> int:
    """Return the number of cores that this process may use; `OMP_NUM_THREADS` limits it, as it does in training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


class Workers(Generic[Block, Result]):
    """A context manager that applies a function to blocks in worker processes.

    Args:
        function: The function; it and its arguments and results must be picklable.
        processes: Number of worker processes; with one, the function is called in this process instead.
    """

    def __init__(self, function: Callable[[Block], Result], processes: int):
        self._function, self._processes = function, processes if processes > 1 and sys.executable else 1
        self._workers: list[_Worker] = []
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()
        if self._threads:
            self._threads.shutdown(cancel_futures=True)

    def map(self, blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield the function's results in the order of the blocks, which are read a few ahead.

        Raises:
            UserError: If a worker process is ended by the system. An exception of the function is raised as it is.
        """
        if self._processes == 1:
            yield from map(self._function, blocks)
            return
        if self._threads is None:
            self._start()
        waiting: deque[Future[Result]] = deque()
        for block in blocks:
            if len(waiting) == _AHEAD * self._processes:
                yield waiting.popleft().result()
            waiting.append(cast(ThreadPoolExecutor, self._threads).submit(self._call, block))
        while waiting:
            yield waiting.popleft().result()

    def _start(self) -> None:
        function = pickle.dumps(self._function)
        self._workers = [_Worker(function) for _ in range(self._processes)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self._processes)  # each waits for the answer of a worker

    def _call(self, block: Block) -> Result:
        worker = self._idle.get()
        try:
            return cast(Result, worker.call(block))
        finally:
            self._idle.put(worker)


class _Worker:
    """A worker process, to which the function has been sent."""

    def __init__(self, function: bytes):
        program = _PROGRAM.format(path=sys.path)
        pipe = subprocess.PIPE
        # In a group of its own: Ctrl-C in a terminal reaches only this process, which ends its workers.
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, process_group=0)
        self._input, self._output = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._function = function

    def call(self, block: object) -> object:
        try:
            self._input.write(self._function)
            self._function = b""
            pickle.dump(block, self._input, pickle.HIGHEST_PROTOCOL)
            self._input.flush()
            result, error = pickle.load(self._output)
        except (OSError, EOFError, ValueError) as broken:
            raise UserError(
                f"a worker process that prepares the text has ended (exit code {self._process.wait()}), probably for "
                "lack of memory. Close other programs, or prepare in one process: OMP_NUM_THREADS=1."
            ) from broken
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):  # what was written last cannot be sent any more
                pipe.close()


def serve() -> None:
    """Receive a function and then blocks, and answer each with the result or the exception, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else is printed among the answers
    blocks = sys.stdin.buffer
    function: Callable[[Any], Any] = pickle.load(blocks)
    while True:
        try:
            block = pickle.load(blocks)
        except EOFError:
            return
        try:
            answer = pickle.dumps((function(block), None), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            answer = pickle.dumps((None, error))
        answers.write(answer)
        answers.flush()
