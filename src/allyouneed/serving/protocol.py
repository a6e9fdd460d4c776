"""Limits on connections, header size and time that uvicorn lacks.

`body.py` limits the bodies of requests that reach the application, and responds before these limits apply. These limits
cover everything that does not reach the application.
"""

from __future__ import annotations

import asyncio
import re
from itertools import count

from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from allyouneed.serving.access.addresses import is_loopback, network_of
from allyouneed.serving.queue.cancellation import cancel_request
from allyouneed.serving.server_settings import ServerSettings

_H2C = b"h2c"
_MOMENTS = count()  # for the order of events, which a clock may give the same time
_OFFER_OF_HTTP2 = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_REQUEST_TIMEOUT, _HEADERS_TOO_LARGE, _UNAVAILABLE = 408, 431, 503


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits; its own parser accepts headers of any size and waits for them forever.

    Attributes:
        max_head_bytes: Bytes outside a body before headers are complete; trailers and bytes between requests count too.
        max_seconds: Time from the first to the last byte of a request, until the first byte of a connection, and until
            a client reads on.
        max_connections: Open connections. Beyond it, the connection is closed that has been without a complete request
            for the longest time; a new one is refused if all wait for responses.
        max_per_address: The same for each client address, or network of IPv6; it does not apply to trusted proxies.
    """

    max_head_bytes, max_seconds = 64 * 1024, 30.0
    max_connections, max_per_address = 1000, 100

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._head_bytes, self._in_request = 0, False
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.max_seconds, self._on_timeout)
        self._reading_timer: asyncio.TimerHandle | None = None
        self._idle_since = next(_MOMENTS)
        self._network = network_of(self.client[0]) if self.client else ""
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._cancel_reading_timer()
        super().connection_lost(exc)
        if self.cycle and not self.cycle.response_complete:
            cancel_request(self.cycle.scope)

    def data_received(self, data: bytes) -> None:
        if not self._in_request and _H2C in data:
            data = _without_offer_of_http2(data)
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

    def on_response_complete(self) -> None:
        self._idle_since = next(_MOMENTS)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading_timer = self.loop.call_later(self.max_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_reading_timer()
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an Upgrade header, as RFC 9110 allows; some clients offer HTTP/2 in each request."""

    @property
    def _is_answering(self) -> bool:
        """Whether a client waits for the response to a complete request."""
        return bool(self.cycle and not self.cycle.more_body and not self.cycle.response_complete)

    def _make_room(self) -> None:
        """Close the connection that has been idle for the longest time, or this one, if there are too many."""
        if len(self.connections) <= min(self.max_connections, self.max_per_address):
            return
        others = [each for each in self.connections if isinstance(each, LimitedProtocol) and each is not self]
        crowd = [] if self._is_proxy else [each for each in others if each._network == self._network]
        if len(crowd) < self.max_per_address:
            if len(others) < self.max_connections:
                return
            crowd = others
        idle = [each for each in crowd if not each._is_answering]
        if idle:
            victim = min(idle, key=lambda each: each._idle_since)
            victim.transport.abort()
        else:
            victim = self
            self._reject(_UNAVAILABLE, "Too many connections.")
        self.connections.discard(victim)  # its end arrives after other new connections

    @property
    def _is_proxy(self) -> bool:
        if self.client is None or is_loopback(self.client[0]):
            return True
        return self.client[0] in _TrustedHosts(self.config.forwarded_allow_ips)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _on_timeout(self) -> None:
        if self._is_answering or self.flow.read_paused:  # the client is waiting for the server
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


def _without_offer_of_http2(data: bytes) -> bytes:
    """Remove the header `Upgrade: h2c` from the head of a request; with it, httptools would lose the body.

    It may be ignored (RFC 9110, section 7.8). Java's client and `curl --http2` send it with each request.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _OFFER_OF_HTTP2.sub(b"", head + end, count=1) + rest if end else data


def protocol_for(settings: ServerSettings) -> type[LimitedProtocol]:
    """Return the protocol with the limits of a server."""

    class ServerProtocol(LimitedProtocol):
        max_connections, max_per_address = settings.connections, settings.connections_per_address

    return ServerProtocol
