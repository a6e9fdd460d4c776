"""API keys and request rates.

The key file is a JSON list of `{"name", "sha256", "per_minute", "characters"}`. If `per_minute` is null, the server's
default rate applies; if `characters` is null, there is no quota. A key has 256 random bits, so an unsalted SHA-256 is
enough to protect it. Monthly usage is stored in a separate file next to the key file.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import stat
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from allyouneed.config.descriptions import plain_message
from allyouneed.errors import UserError
from allyouneed.serving.access.addresses import network_of
from allyouneed.serving.access.usage import Charge, MonthlyUsage, write_private_json
from allyouneed.serving.api_errors import ApiError
from allyouneed.untrusted import parse_json, read_regular

_log = logging.getLogger(__name__)
_FORBIDDEN, _TOO_MANY_REQUESTS = 403, 429
_MAX_TRACKED_CLIENTS = 10_000
_LARGEST = 1 << 24  # bytes of a key file
_SHARED_OWNER = "shared"


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class ApiKey:
    """A stored key.

    Attributes:
        name: Unique name, under which usage is recorded.
        sha256: Hash of the secret.
        per_minute: Requests per minute, or None for the server's default.
        characters: Source characters per calendar month (UTC), or None for no limit.
    """

    name: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    per_minute: Annotated[int, Field(ge=1)] | None = None
    characters: Annotated[int, Field(ge=0)] | None = None


def add_key(file: Path, name: str, per_minute: int | None = None, characters: int | None = None) -> str:
    """Create a key and store its hash.

    Args:
        file: Key file; created if it does not exist.
        name: Unique name of the key.
        per_minute: Requests per minute, or None for the server's default.
        characters: Source characters per month, or None for no limit.

    Returns:
        The secret; only its hash is stored.

    Raises:
        UserError: If the name is empty or taken, or the file cannot be read or written.
    """
    if not name.strip():
        raise UserError("the name of a key is empty. Give one: --add-key NAME.")
    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise UserError(f"{file}: a key named {name} already exists. Choose another name, or remove its entry.")
    secret = f"ayn_{secrets.token_urlsafe(32)}"
    write_private_json(file, [asdict(key) for key in [*keys, ApiKey(name, _sha256(secret), per_minute, characters)]])
    return secret


def read_keys(file: Path) -> list[ApiKey]:
    """Read a key file.

    Raises:
        UserError: If the file is missing or is not a key file.
    """
    try:
        keys = [ApiKey(**entry) for entry in parse_json(read_regular(file, _LARGEST))]
        if len({key.name for key in keys}) < len(keys):
            raise ValueError("two keys have the same name")
        return keys
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = _described(error) if isinstance(error, ValidationError) else error
        raise UserError(f"{file}: not a key file ({reason}). Create one with --add-key NAME.") from error


def _described(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['loc'][0]}: {plain_message(first)}" if first["loc"] else plain_message(first)


def permissions_remark(file: Path) -> str | None:
    """Return a remark if other users of the machine can read or change a key file."""
    mode = file.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{file}: other users of this machine can change the keys. Protect the file: chmod 600 {file}"
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{file}: other users of this machine can read the file of the keys. Protect it: chmod 600 {file}"
    return None


def owner_of(key: ApiKey | None) -> str:
    """Return the identifier under which a key's documents and glossaries are kept; without keys, all clients share one.

    It is derived from the secret, not from the name: whoever gets a new key under an old name does not inherit them.
    """
    return hashlib.sha256(key.sha256.encode()).hexdigest()[:32] if key else _SHARED_OWNER


class KeyRing:
    """The keys of a key file, which is read again when it changes.

    Args:
        file: The key file.

    Raises:
        UserError: If it cannot be read.
    """

    def __init__(self, file: Path):
        self._file = file
        self._version = self._current_version()
        self._by_hash = {key.sha256: key for key in read_keys(file)}

    def find(self, secret: str) -> ApiKey | None:
        """Return the key with this secret. The time that it takes depends on the hash only, which reveals no secret."""
        if self._current_version() != self._version:
            self.reload()
        return self._by_hash.get(_sha256(secret))

    def reload(self) -> None:
        """Read the file; if it is damaged or missing, the keys remain as they are, and the log has the reason."""
        self._version = self._current_version()
        try:
            self._by_hash = {key.sha256: key for key in read_keys(self._file)}
        except UserError as error:
            _log.error("the keys were not reloaded: %s", error)
        else:
            _log.info("keys reloaded: %d", len(self._by_hash))

    def _current_version(self) -> tuple[int, int, int] | None:
        """Return what changes when the file is written or replaced."""
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class AccessControl:
    """Admits requests by API key, request rate and monthly quota.

    Args:
        file: Key file, or None to admit requests without keys.
        per_minute: Requests per minute for each key without its own rate, or for each client address if there are
            no keys; None for no limit.

    Raises:
        UserError: If the key file or its usage file cannot be read.
    """

    def __init__(self, file: Path | None, per_minute: int | None = None):
        self._keys = KeyRing(file) if file else None
        self._usage = MonthlyUsage(file.with_suffix(".usage.json")) if file else None
        self.keys_required = file is not None
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # by client: remaining tokens, time of the last request

    def admit(self, secret: str | None, address: str) -> ApiKey | None:
        """Count a request.

        Args:
            secret: API key of the request.
            address: Client address, which is rate-limited if there are no keys.

        Returns:
            The key, or None if the server has no keys.

        Raises:
            ApiError: 403 for a missing or wrong key, 429 over the rate.
        """
        key = self.authenticate(secret)
        rate = key.per_minute if key and key.per_minute else self._per_minute
        self._take_token(key.name if key else network_of(address), rate)
        return key

    def authenticate(self, secret: str | None) -> ApiKey | None:
        """Return the key with this secret, without counting a request; None if the server has no keys.

        Raises:
            ApiError: 403 if a key is required and missing or wrong.
        """
        if self._keys is None:
            return None
        if not secret:
            raise ApiError(_FORBIDDEN, "an API key is required; ask the operator of this server for one")
        key = self._keys.find(secret)
        if key is None:
            raise ApiError(_FORBIDDEN, "invalid API key")
        return key

    def charge(self, key: ApiKey | None, characters: int) -> Charge | None:
        """Reserve source characters of a key's quota until the work has succeeded or failed.

        Raises:
            ApiError: 456 over the quota.
        """
        if key is None or self._usage is None:
            return None
        return self._usage.reserve(key.name, characters, key.characters)

    def characters_used(self, key: ApiKey) -> int:
        """Return the source characters that a key has used in the current month."""
        return self._usage.used(key.name) if self._usage else 0

    def save_usage(self) -> None:
        """Write the monthly usage if it has changed.

        Raises:
            UserError: If the file cannot be written.
        """
        if self._usage:
            self._usage.save()

    def reload_keys(self) -> None:
        """Read the key file again."""
        if self._keys:
            self._keys.reload()

    def _take_token(self, client: str, per_minute: int | None) -> None:
        """Take one token from the client's bucket, which holds and refills `per_minute` tokens."""
        if per_minute is None:
            return
        now = time.monotonic()
        tokens, updated = self._buckets.pop(client, (float(per_minute), now))
        tokens = min(per_minute, tokens + (now - updated) * per_minute / 60)
        self._buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > _MAX_TRACKED_CLIENTS:
            del self._buckets[next(iter(self._buckets))]  # insertion order: the least recently seen client
        if tokens < 1:
            wait = int((1 - tokens) * 60 / per_minute) + 1
            message = f"too many requests: at most {per_minute} per minute; retry in {wait} s"
            raise ApiError(_TOO_MANY_REQUESTS, message, wait)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
