"""Settings of a server. The defaults suit a small machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ServerSettings(BaseModel):
    """Settings of a server; every field has a description and bounds, from which `allyouneed serve` derives options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; the default is reachable from this machine only."
    )
    port: int = Field(default=5000, ge=0, le=65_535, description="Port to listen on; 0 selects a free one.")
    public: bool = Field(default=False, description="Accept requests without keys on an address other than loopback.")
    keys: Path | None = Field(default=None, description="Key file; only requests with one of its keys are accepted.")
    per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests per minute for each key, or for each address without keys.",
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="Model threads (default: one per core).")
    compute_type: str = Field(default="float32", description="float32, or int8: faster on CPUs with AVX-512 VNNI.")
    batch_tokens: int = Field(default=2048, ge=1, le=1_000_000, description="Source tokens per batch.")
    gather_seconds: float = Field(
        default=0.003,
        ge=0,
        le=1,
        description="Time that a batch waits for its next sentence; in total, eight times as long.",
    )
    queue_sentences: int = Field(
        default=4096,
        ge=1,
        le=10_000_000,
        description="Sentences that may wait in the queue; more are rejected with 503.",
    )
    seconds: float = Field(default=60.0, gt=0, le=86_400, description="Time limit per request in seconds.")
    body_seconds: float = Field(
        default=20.0, gt=0, le=86_400, description="Time for a request's body to arrive, in seconds."
    )
    characters: int = Field(default=20_000, ge=1, le=1_000_000_000, description="Characters of text per request.")
    body_bytes: int = Field(default=128 * 1024, ge=1, le=1 << 40, description="Bytes per request without a file.")
    file_bytes: int = Field(default=10 * 1024 * 1024, ge=1, le=1 << 40, description="Bytes per uploaded file.")
    file_characters: int = Field(default=2_000_000, ge=1, le=1_000_000_000, description="Characters of text per file.")
    file_minutes: float = Field(
        default=30.0, gt=0, le=1_000_000, description="Minutes until uploaded files are deleted."
    )
    files: int = Field(default=64, ge=1, le=1_000_000, description="Files stored at once.")
    origins: tuple[str, ...] = Field(default=(), description="Origins whose pages may call the server (CORS).")
    metrics_token: str | None = Field(default=None, description="Bearer token required by /metrics.")
    log_text: bool = Field(default=False, description="Include users' text in the logs.")
