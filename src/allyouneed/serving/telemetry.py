"""Prometheus metrics, and one JSON log line per request."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allyouneed import __version__

_log = logging.getLogger("allyouneed.serving.requests")
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_FIRST_ERROR, _SERVER_ERROR = 400, 500
_CLIENT_CLOSED_REQUEST = 499  # as in nginx: the client closed the connection before a response


class ServerMetrics:
    """Metrics of one server, in a registry that servers of the same process do not share."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix, registry = "allyouneed", self.registry
        self.requests = Counter(f"{prefix}_requests", "Requests answered", ["route", "status"], registry=registry)
        self.latency = Histogram(
            f"{prefix}_request_seconds", "Request latency", ["route"], registry=registry, buckets=_SECONDS
        )
        self.queue = Gauge(f"{prefix}_queue_sentences", "Sentences waiting for a model thread", registry=registry)
        self.batch = Histogram(
            f"{prefix}_batch_sentences", "Sentences per batch", registry=registry, buckets=_SENTENCES
        )
        self.batch_seconds = Histogram(
            f"{prefix}_batch_seconds", "Processing time per batch", registry=registry, buckets=_SECONDS
        )
        self.sentences = Counter(f"{prefix}_sentences", "Sentences translated", registry=registry)
        self.tokens = Counter(f"{prefix}_source_tokens", "Source tokens translated", registry=registry)
        Info(prefix, "Version of the server", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)

    def observe_batch(self, sentences: int, tokens: int, seconds: float) -> None:
        """Record a processed batch."""
        self.batch.observe(sentences)
        self.batch_seconds.observe(seconds)
        self.sentences.inc(sentences)
        self.tokens.inc(tokens)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, in the format that an Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class TelemetryMiddleware:
    """Counts, times and logs every request, and settles its charge, when it has ended.

    Routes add details in `request.state.log_fields`.

    Args:
        app: The wrapped application.
        metrics: Metrics to update.
        log_text: Whether users' text may be logged.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, log_text: bool):
        self.app, self.metrics, self.log_text = app, metrics, log_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        fields: dict[str, Any] = {}
        state: dict[str, Any] = scope.setdefault("state", {})
        state |= {"log_fields": fields, "charge": None}
        status, started, succeeded = _CLIENT_CLOSED_REQUEST, time.monotonic(), False

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_watched)
            succeeded = status < _FIRST_ERROR
        except ClientDisconnect:  # the log line has status 499, unless the response has begun
            pass
        except Exception:  # Starlette's outermost middleware sends the response
            status = _SERVER_ERROR if status == _CLIENT_CLOSED_REQUEST else status
            raise
        finally:
            if state["charge"]:
                state["charge"].settle(succeeded)
            self._record(scope, status, time.monotonic() - started, fields)

    def _record(self, scope: Scope, status: int, seconds: float, fields: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", "other")  # the template: clients' paths are unbounded
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        if not self.log_text:
            fields.pop("text", None)
        if _log.isEnabledFor(logging.INFO):
            request = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            _log.info("request", extra={"log_fields": {**request, **fields}})


class JsonFormatter(logging.Formatter):
    """Formats log records as JSON, one line each."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "log_fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class BufferedHandler(logging.Handler):
    """Writes log lines in groups from its own thread; warnings and errors are written immediately.

    A write releases the interpreter lock; the event loop would then wait for the model threads to reacquire it.

    Args:
        stream: Where lines are written.
        seconds: Interval between writes.
    """

    def __init__(self, stream: TextIO, seconds: float = 0.1):
        super().__init__()
        self.stream, self.seconds = stream, seconds
        self.lines: list[str] = []
        self._has_lines = threading.Event()
        threading.Thread(target=self._write_loop, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + "\n")
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self._has_lines.is_set():
            self._has_lines.set()

    def flush(self) -> None:
        self.acquire()
        try:
            lines, self.lines = self.lines, []
            with suppress(OSError, ValueError):  # the reader has closed the stream
                self.stream.write("".join(lines))
                self.stream.flush()
        finally:
            self.release()

    def _write_loop(self) -> None:
        while self._has_lines.wait():
            time.sleep(self.seconds)
            self._has_lines.clear()
            self.flush()


def log_as_json() -> None:
    """Send all logs of the process to standard error as JSON lines."""
    handler = BufferedHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging._srcfile = None  # omits the caller's file and line, see "Optimization" in logging's documentation
