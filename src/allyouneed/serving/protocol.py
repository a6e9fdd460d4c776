"""Limits on header size and receive time that uvicorn lacks.

`body.py` limits the bodies of requests that reach the application, and responds before these limits apply. These limits
cover everything that does not reach the application.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from allyouneed.serving.cancellation import cancel_request

_REQUEST_TIMEOUT, _HEADERS_TOO_LARGE = 408, 431


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits; its own parser accepts headers of any size and waits for them forever.

    Attributes:
        max_head_bytes: Bytes outside a body before headers are complete; trailers and bytes between requests count too.
        max_seconds: Time from the first to the last byte of a request, and until the first byte of a connection.
    """

    max_head_bytes, max_seconds = 64 * 1024, 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._head_bytes, self._in_request = 0, False
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.max_seconds, self._on_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)
        if self.cycle and not self.cycle.response_complete:
            cancel_request(self.cycle.scope)

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            allowed = self.max_head_bytes - self._head_bytes
            if allowed <= 0:
                message = f"The headers are too large: at most {self.max_head_bytes:,} bytes."
                return self._reject(_HEADERS_TOO_LARGE, message)
            chunk, data = data[:allowed], data[allowed:]
            self._head_bytes += len(chunk)
            super().data_received(chunk)
        if self._timer is None and (self._in_request or self._head_bytes):
            self._timer = self.loop.call_later(self.max_seconds, self._on_timeout)

    def on_message_begin(self) -> None:
        self._in_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes, self._in_request = 0, False
        self._cancel_timer()
        super().on_message_complete()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        responding = self.cycle and not self.cycle.more_body and not self.cycle.response_complete
        if responding or self.flow.read_paused:  # the client is waiting for the server
            self._timer = self.loop.call_later(self.max_seconds, self._on_timeout)
        else:
            self._reject(_REQUEST_TIMEOUT, f"The request did not arrive within {self.max_seconds:g} seconds.")

    def _reject(self, status: int, message: str) -> None:
        """Close the connection, with a response unless one has already started."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = [
                STATUS_LINE[status],
                b"content-type: text/plain; charset=utf-8\r\n",
                b"content-length: %d\r\n" % len(message),
                b"connection: close\r\n\r\n",
            ]
            self.transport.write(b"".join([*head, message.encode()]))
        self.transport.close()
