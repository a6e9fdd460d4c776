"""Model processes that share the weights, for `allyouneed serve --processes`.

The server's process keeps all that requests share: keys, rates, quotas, documents and glossaries. It passes batches to
model processes, which have the models only. A template process is forked before the server has threads, and forks the
model processes, also in place of one that ended: all of them share the memory of the loaded models.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from typing import Any

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.model_threads import WorkerDiedError
from allyouneed.serving.queue.model_worker import BatchKey, ModelWorker, StreamingSentence
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.translation.stopping import StoppedError, check_needed, stopping_when

_TEXT, _DONE, _FAILED = "text", "done", "failed"  # kinds of messages from a model process
_STOP = "stop"  # to a model process: nobody needs the results of its batch any more
_POLL_SECONDS = 0.05
_ATTEMPTS = 2  # at a batch whose process ends


class ModelProcesses:
    """The template process of the model processes.

    Args:
        registry: The served translators, with engines that are built and kernels that are compiled.

    Raises:
        UserError: If the system is not Linux.
    """

    def __init__(self, registry: TranslatorRegistry):
        if sys.platform != "linux":
            raise UserError("--processes is available on Linux only. Remove it; --threads runs models in parallel too.")
        self._requests, requests = socket.socketpair()
        self._lock = threading.Lock()
        if os.fork() == 0:
            self._requests.close()
            _run(partial(_fork_on_request, requests, registry))
        requests.close()

    def start(self) -> Connection:
        """Fork a model process, and return the connection to it.

        Raises:
            OSError: If the template process has ended. A server that runs out of model processes then restarts.
        """
        ours, theirs = Pipe()
        with self._lock:
            socket.send_fds(self._requests, [b"+"], [theirs.fileno()])
        theirs.close()
        return ours


class ProcessWorker:
    """Passes the batches of a model thread to a model process, and replaces the process if it ends.

    Args:
        processes: Where model processes come from.
    """

    def __init__(self, processes: ModelProcesses):
        self._processes = processes
        self._connection = processes.start()

    def work(self, key: BatchKey, payloads: Sequence[Any]) -> list[Any]:
        """Run a batch and return one result per payload; if the process ends, try once more in another one.

        Raises:
            ApiError: 503 if that process ended, too.
            WorkerDiedError: If no other process can be started.
            StoppedError: If nobody needs the results any more.
            Exception: What the task raised.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._work(key, payloads)
            except (EOFError, ConnectionError):
                self._replace()
        raise ApiError(503, "a model process ended; try again", 1)

    def _replace(self) -> None:
        self._connection.close()
        try:
            self._connection = self._processes.start()
        except OSError as error:
            raise WorkerDiedError("no model process can be started") from error

    def _work(self, key: BatchKey, payloads: Sequence[Any]) -> list[Any]:
        self._connection.send((key, [_without_callback(payload) for payload in payloads]))
        is_stopped = False
        while True:
            try:
                while not (is_stopped or self._connection.poll(_POLL_SECONDS)):
                    check_needed()
            except StoppedError:
                is_stopped = True
                self._connection.send(_STOP)
            kind, value = self._connection.recv()
            if kind == _DONE:
                results: list[Any] = value
                return results
            if kind == _FAILED:
                raise value
            if not is_stopped:
                index, text = value
                self._connection.send(_error_of(payloads[index], text))


def _without_callback(payload: Any) -> Any:
    return StreamingSentence(payload.text, _ignore) if isinstance(payload, StreamingSentence) else payload


def _ignore(text: str) -> None:
    """Take the place of a callback, which cannot be sent."""


def _error_of(payload: StreamingSentence, text: str) -> Exception | None:
    """Pass on a partial translation, and return the exception that stops the search."""
    try:
        payload.on_text(text)
    except Exception as error:
        return error
    return None


def _run(body: Any) -> None:
    """Run the body of a forked process, and exit without the handlers of the process that it was forked from."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # it ends with the server, after the last batch
            signal.signal(number, signal.SIG_IGN)
        body()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _fork_on_request(requests: socket.socket, registry: TranslatorRegistry) -> None:
    """Fork a model process for each socket that arrives, until the server ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # processes that end are not awaited
    while True:
        message, [*descriptors], _, _ = socket.recv_fds(requests, 1, 1)
        if not message:
            return
        with suppress(OSError):  # out of memory or process numbers: the server sees that the connection is closed
            if os.fork() == 0:
                requests.close()
                _run(partial(_translate, Connection(descriptors[0]), registry))
        os.close(descriptors[0])


def _translate(connection: Connection, registry: TranslatorRegistry) -> None:
    """Run batches until the server closes the connection."""
    worker = ModelWorker(registry)
    while True:
        try:
            request = connection.recv()
            if request == _STOP:  # it came after the results were sent
                continue
            key, payloads = request
            streamed = [
                payload._replace(on_text=partial(_pass_on, connection, index))
                if isinstance(payload, StreamingSentence)
                else payload
                for index, payload in enumerate(payloads)
            ]
            connection.send(_outcome(connection, worker, key, streamed))
        except (EOFError, ConnectionError):
            return


def _outcome(connection: Connection, worker: ModelWorker, key: BatchKey, payloads: Sequence[Any]) -> tuple[str, Any]:
    def is_stopped() -> bool:
        return connection.poll() and connection.recv() == _STOP

    try:
        with stopping_when(is_stopped):
            return _DONE, worker.work(key, payloads)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:
        return _FAILED, _sendable(error)


def _sendable(error: Exception) -> Exception:
    """Return an exception that can be sent, with its traceback as a note."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def _pass_on(connection: Connection, index: int, text: str) -> None:
    """Send a partial translation, and stop the search if its receiver refuses it."""
    connection.send((_TEXT, (index, text)))
    error = connection.recv()
    if error == _STOP:
        raise StoppedError("the result is no longer needed")
    if error is not None:
        raise error
