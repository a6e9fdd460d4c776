"""uvicorn's server with a bounded shutdown, which ends too when no model thread can be started."""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from allyouneed.serving.protocol import LimitedProtocol, protocol_for
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.state import ApplicationState
from allyouneed.serving.supervisor import notify_supervisor

_log = logging.getLogger(__name__)
_MARGIN_SECONDS = 10.0  # after the time for requests, until a process that hangs is ended
_INTERRUPTED = 130


class BoundedServer(uvicorn.Server):
    """Runs until a signal, or until no model thread has worked for a minute.

    Args:
        app: The application.
        settings: Limits of the server.
        on_started: Called once models are loaded, kernels are compiled and requests are accepted.
        protocol: HTTP protocol of each connection; None for that with the limits of the settings.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: ServerSettings,
        on_started: Callable[[], None] = lambda: None,
        protocol: type[LimitedProtocol] | None = None,
    ):
        config = uvicorn.Config(
            app,
            port=0,
            http=protocol or protocol_for(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
        )
        super().__init__(config)
        self._state: ApplicationState = app.state.application
        self._on_started = on_started

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve requests.

        Raises:
            SystemExit: With code 1 if no model thread could be started.
        """
        try:
            super().run(sockets)
        except KeyboardInterrupt:
            self._end(_INTERRUPTED)
            raise
        if self._has_failed:
            _log.critical("the models could not be started; the server exits")
            self._end(1)
            raise SystemExit(1)
        self._end(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()
            notify_supervisor("READY=1")

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._has_failed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        is_first, stderr = not self.should_exit, sys.__stderr__
        super().handle_exit(sig, frame)
        if is_first and stderr is not None:  # a thread of C, which ends the process even if Python hangs
            seconds = self._state.settings.shutdown_seconds + _MARGIN_SECONDS
            faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify_supervisor("STOPPING=1")
        self._state.documents.cancel()  # they could not be fetched any more
        await super().shutdown(sockets)
        for handler in logging.getLogger().handlers:
            handler.flush()  # uvicorn ends the process by the signal

    @property
    def _has_failed(self) -> bool:
        return self._state.pipeline.queue.has_failed

    def _end(self, code: int) -> None:
        """Exit at once if threads are still busy: when Python ends, compiled code that runs would crash."""
        faulthandler.cancel_dump_traceback_later()
        pipeline = self._state.pipeline
        if not (pipeline.queue.has_ended and pipeline.preparation.is_idle):
            logging.shutdown()
            os._exit(code)
