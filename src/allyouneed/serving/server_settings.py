"""What the one who serves may choose. The defaults suit a small machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from allyouneed.translation.engine.engine import FLOAT32
from allyouneed.translation.workers import available_cores


@dataclass(frozen=True)
class Settings:
    """host, port: where it listens; public: a public address without keys was asked for; keys: the file of `keys.py`;
    threads: with a model each; compute_type: as `Translator` has it; origins: of other sites' pages that may call
    (CORS); log_text: users' text in the logs.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    public: bool = False
    keys: Path | None = None
    per_minute: int | None = None  # requests of one key, or of one address where there are no keys
    threads: int = field(default_factory=available_cores)
    compute_type: str = FLOAT32
    batch_tokens: int = 2048  # source subwords that go through the model at once
    gather_seconds: float = 0.003  # a batch waits so long for the next sentence, and eight times that at most
    queue_sentences: int = 4096  # waiting; more are refused with 503
    seconds: float = 60.0  # for one request; then it is answered with 503
    body_seconds: float = 20.0  # for its body to arrive
    characters: int = 20_000  # of one request's text
    body_bytes: int = 128 * 1024  # of a request without a file
    file_bytes: int = 10 * 1024 * 1024  # of one with a file
    file_characters: int = 2_000_000  # of a file's text
    file_minutes: float = 30.0  # until an uploaded file and its translation are deleted
    files: int = 64  # kept at once
    origins: tuple[str, ...] = ()
    metrics_token: str | None = None
    log_text: bool = False
