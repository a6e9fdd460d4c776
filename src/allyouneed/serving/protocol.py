"""Requests that come in without end: heads of no more bytes than allowed, and the whole of a request in time.

`body.py` has the limits of bodies, and answers first; what is here holds for what no application sees.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_TOO_SLOW, _TOO_LARGE = 408, 431


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose parser takes heads of any size and waits for them for ever.

    most_bytes: that are neither of a body nor complete a head, so also of trailers and of what stands between requests;
    seconds: for a request, from its first byte to its last, and for the first byte of a connection.
    """

    most_bytes, seconds = 64 * 1024, 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._fruitless, self._under_way = 0, False
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            room = self.most_bytes - self._fruitless
            if room <= 0:
                return self._refuse(_TOO_LARGE, f"The head is too large: at most {self.most_bytes:,} bytes.")
            some, data = data[:room], data[room:]
            self._fruitless += len(some)
            super().data_received(some)
        if self._deadline is None and (self._under_way or self._fruitless):
            self._deadline = self.loop.call_later(self.seconds, self._too_slow)

    def on_message_begin(self) -> None:
        self._under_way = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._fruitless = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless, self._under_way = 0, False
        self._end_wait()
        super().on_message_complete()

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        answering = self.cycle and not self.cycle.more_body and not self.cycle.response_complete
        if answering or self.flow.read_paused:  # the client waits for us, not we for it
            self._deadline = self.loop.call_later(self.seconds, self._too_slow)
        else:
            self._refuse(_TOO_SLOW, f"The request did not arrive within {self.seconds:g} seconds.")

    def _refuse(self, status: int, message: str) -> None:
        """An answer only where none is under way that it would break."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = [
                STATUS_LINE[status],
                b"content-type: text/plain; charset=utf-8\r\n",
                b"content-length: %d\r\n" % len(message),
                b"connection: close\r\n\r\n",
            ]
            self.transport.write(b"".join([*head, message.encode()]))
        self.transport.close()
