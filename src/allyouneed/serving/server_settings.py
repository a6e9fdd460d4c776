"""Settings of a server, declared once for Python and the command line. The defaults suit a small machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from allyouneed.serving.access.addresses import ascii_host, checked_origin, checked_url


@dataclass(frozen=True)
class ServeOption:
    """How a field of `ServerSettings` appears in `allyouneed serve`; a field without one has no option.

    Attributes:
        group: Heading in the help text.
        flag: Command-line flag; None for the field's name with dashes.
        metavar: Placeholder for the value; None for that of the type.
        envvar: Environment variable that may hold the value.
        values: Values for shell completion.
    """

    group: str
    flag: str | None = None
    metavar: str | None = None
    envvar: str | None = None
    values: tuple[str, ...] = ()


class ServerSettings(BaseModel):
    """Settings of a server, validated and immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, ServeOption("Address")] = Field(
        default="127.0.0.1", description="Address to listen on. The default is reachable from this machine only."
    )
    port: Annotated[int, ServeOption("Address")] = Field(
        default=5000, ge=0, le=65_535, description="Port to listen on (0: any free port)."
    )
    public: Annotated[bool, ServeOption("Address")] = Field(
        default=False, description="Accept requests without keys on an address that other machines can reach."
    )
    origins: Annotated[tuple[str, ...], ServeOption("Address", flag="--cors", metavar="ORIGIN")] = Field(
        default=(), description="Allow pages of this origin to send requests (repeatable)."
    )
    allowed_hosts: Annotated[tuple[str, ...], ServeOption("Address", flag="--allowed-host", metavar="NAME")] = Field(
        default=(),
        description="Accept requests to this host name, besides IP addresses and this machine's own (repeatable; "
        "*.example.org: names under it; *: any).",
    )
    public_url: Annotated[str | None, ServeOption("Address", metavar="URL")] = Field(
        default=None, description="Address at which clients reach the server, used in links to translated files."
    )
    keys: Annotated[Path | None, ServeOption("Keys", metavar="FILE")] = Field(
        default=None, description="Key file; only requests with one of its keys are accepted."
    )
    glossaries: Annotated[Path | None, ServeOption("Keys", metavar="FOLDER")] = Field(
        default=None,
        description="Folder of clients' glossaries. Default: next to the key file; without keys, a temporary folder.",
    )
    per_minute: Annotated[int | None, ServeOption("Keys")] = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests per minute for the new key (with --add-key); otherwise the default for each key, or for "
        "each client address if there are no keys.",
    )
    characters: Annotated[int, ServeOption("Limits")] = Field(
        default=20_000, ge=1, le=1_000_000_000, description="Characters of text per request."
    )
    seconds: Annotated[float, ServeOption("Limits")] = Field(
        default=60.0, gt=0, le=86_400, description="Time limit per request in seconds."
    )
    queue_sentences: Annotated[int, ServeOption("Limits", flag="--queue")] = Field(
        default=4096, ge=1, le=10_000_000, description="Sentences that may wait in the queue; more are rejected (503)."
    )
    shutdown_seconds: Annotated[float, ServeOption("Limits")] = Field(
        default=20.0,
        ge=0,
        le=86_400,
        description="Seconds that accepted requests may take after SIGTERM or Ctrl-C; then they are answered with 503.",
    )
    connections: Annotated[int, ServeOption("Limits")] = Field(
        default=1000, ge=1, le=1_000_000, description="Open connections; beyond it, the longest idle one is closed."
    )
    connections_per_address: Annotated[int, ServeOption("Limits")] = Field(
        default=100, ge=1, le=1_000_000, description="The same for each client address, except proxies on this machine."
    )
    file_minutes: Annotated[float, ServeOption("Limits")] = Field(
        default=30.0, gt=0, le=1_000_000, description="Minutes until uploaded files are deleted."
    )
    threads: Annotated[int | None, ServeOption("Speed")] = Field(
        default=None, ge=1, le=1024, description="Model threads. Default: one per core."
    )
    processes: Annotated[int, ServeOption("Speed")] = Field(
        default=1,
        ge=1,
        le=1024,
        description="Model processes, which share the weights (1: model threads in the server's process).",
    )
    compute_type: Annotated[str, ServeOption("Speed", metavar="TYPE", values=("float32", "int8"))] = Field(
        default="float32", description="float32, or int8 (faster; CPUs with AVX-512 VNNI)."
    )
    metrics_token: Annotated[str | None, ServeOption("Monitoring", envvar="ALLYOUNEED_METRICS_TOKEN")] = Field(
        default=None, description="Bearer token required by /metrics."
    )
    log_text: Annotated[bool, ServeOption("Monitoring")] = Field(
        default=False, description="Include users' text in the logs."
    )
    batch_tokens: int = Field(default=2048, ge=1, le=1_000_000, description="Source tokens per batch.")
    gather_seconds: float = Field(
        default=0.003,
        ge=0,
        le=1,
        description="Seconds that a batch waits for another sentence; at most eight times in a row.",
    )
    restart_seconds: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Seconds without a working model thread after which the server exits, to be restarted.",
    )
    body_seconds: float = Field(
        default=20.0, gt=0, le=86_400, description="Time limit for receiving a request body, in seconds."
    )
    body_bytes: int = Field(default=128 * 1024, ge=1, le=1 << 40, description="Bytes per request without a file.")
    file_bytes: int = Field(default=10 * 1024 * 1024, ge=1, le=1 << 40, description="Bytes per uploaded file.")
    unpacked_bytes: int = Field(
        default=100 * 1024 * 1024, ge=1, le=1 << 40, description="Bytes of an uploaded file after unpacking."
    )
    file_characters: int = Field(
        default=2_000_000, ge=1, le=1_000_000_000, description="Characters of text per uploaded file."
    )
    glossary_bytes: int = Field(
        default=10 * 1024 * 1024, ge=1, le=1 << 40, description="Bytes of the entries of a glossary."
    )
    files: int = Field(default=64, ge=1, le=1_000_000, description="Maximum number of stored files.")

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name == "*" else ascii_host(name) for name in value)

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(checked_origin(origin) for origin in value)

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        return None if value is None else checked_url(value)
