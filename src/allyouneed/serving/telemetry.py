"""What the server tells of itself: Prometheus metrics, and a log line of JSON for each request."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("allyouneed.serving.requests")
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Of one server; several in one process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix, registry = "allyouneed", self.registry
        self.requests = Counter(f"{prefix}_requests", "Requests answered", ["route", "status"], registry=registry)
        self.latency = Histogram(
            f"{prefix}_request_seconds", "From request to answer", ["route"], registry=registry, buckets=_SECONDS
        )
        self.queue = Gauge(f"{prefix}_queue_sentences", "Sentences that wait for a model", registry=registry)
        self.batch = Histogram(
            f"{prefix}_batch_sentences", "Sentences in a batch", registry=registry, buckets=_SENTENCES
        )
        self.batch_seconds = Histogram(f"{prefix}_batch_seconds", "A batch's time", registry=registry, buckets=_SECONDS)
        self.sentences = Counter(f"{prefix}_sentences", "Sentences translated", registry=registry)
        self.tokens = Counter(f"{prefix}_source_tokens", "Source subwords translated", registry=registry)

    def observe_batch(self, sentences: int, tokens: int, seconds: float) -> None:
        self.batch.observe(sentences)
        self.batch_seconds.observe(seconds)
        self.sentences.inc(sentences)
        self.tokens.inc(tokens)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Telemetry:
    """Counts, times and logs every request. A route adds what it knows to `scope["state"]["facts"]`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log_text: bool):
        self.app, self.metrics, self.log_text = app, metrics, log_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        facts: dict[str, Any] = {}
        scope.setdefault("state", {})["facts"] = facts
        status, begun = 499, time.monotonic()  # 499: the client left before there was an answer

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            raise
        except Exception:  # answered further out
            status = 500 if status == 499 else status
            raise
        finally:
            seconds = time.monotonic() - begun
            route = getattr(scope.get("route"), "path", "other")  # never a path of the client's choice
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.latency.labels(route).observe(seconds)
            if not self.log_text:
                facts.pop("text", None)
            if _log.isEnabledFor(logging.INFO):
                _log.info("request", extra={"facts": {
                    "method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1), **facts
                }})  # fmt: skip


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Gathered(logging.Handler):
    """Lines to a stream, many at once by a thread of its own: who writes waits for the system, and then for Python's
    lock, which model threads want too. What is an error, or the last, is written at once."""

    def __init__(self, stream: TextIO, seconds: float = 0.1):
        super().__init__()
        self.stream, self.seconds = stream, seconds
        self.lines: list[str] = []
        self._some = threading.Event()
        threading.Thread(target=self._write_on, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + "\n")
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        self.acquire()
        try:
            lines, self.lines = self.lines, []
            with suppress(OSError, ValueError):  # nobody reads any more
                self.stream.write("".join(lines))
                self.stream.flush()
        finally:
            self.release()

    def _write_on(self) -> None:
        while self._some.wait():
            time.sleep(self.seconds)
            self._some.clear()
            self.flush()


def log_as_json() -> None:
    """All of the process's logs, as lines of JSON on standard error."""
    handler = Gathered(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging._srcfile = None  # nobody is told which line of code logs: "Optimization" in logging's documentation
