"""API keys, request rates and monthly character quotas.

The key file is a JSON list of `{"name", "sha256", "per_minute", "characters"}`. If `per_minute` is null, the server's
default rate applies; if `characters` is null, there is no quota. A key has 256 random bits, so an unsalted SHA-256 is
enough to protect it. Monthly usage is stored in a separate file next to the key file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.files import cannot_write
from allyouneed.serving.api_errors import ApiError

_FORBIDDEN, _TOO_MANY_REQUESTS, _QUOTA_EXCEEDED = 403, 429, 456
_MAX_TRACKED_CLIENTS = 10_000


@dataclass(frozen=True)
class ApiKey:
    """A stored key.

    Attributes:
        name: Unique name, under which usage is recorded.
        sha256: Hash of the secret.
        per_minute: Requests per minute, or None for the server's default.
        characters: Source characters per calendar month (UTC), or None for no limit.
    """

    name: str
    sha256: str
    per_minute: int | None = None
    characters: int | None = None


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
        UserError: If the name is taken, or the file cannot be read or written.
    """
    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise UserError(f"{file}: a key named {name} already exists. Choose another name, or remove its entry.")
    secret = f"ayn_{secrets.token_urlsafe(32)}"
    _write_private_json(file, [asdict(key) for key in [*keys, ApiKey(name, _sha256(secret), per_minute, characters)]])
    return secret


def read_keys(file: Path) -> list[ApiKey]:
    """Read a key file.

    Raises:
        UserError: If the file is missing or is not a key file.
    """
    try:
        return [ApiKey(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: not a key file ({error}). Create one with --add-key NAME.") from error


def _read_usage(file: Path) -> tuple[str, dict[str, int]]:
    """Return the stored month and the characters that each key used in it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return str(content["month"]), {str(name): int(count) for name, count in content["used"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "Delete the file to restart this month's count."
        raise UserError(f"{file}: cannot read the monthly usage of the keys. {remedy}") from error


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
        self._keys = read_keys(file) if file else []
        self.keys_required = file is not None
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # by client: remaining tokens, time of the last request
        self._usage_file = file.with_suffix(".usage.json") if file else None
        self._month = _current_month()
        self._usage: dict[str, int] = {}
        self._unsaved = False
        if self._usage_file and self._usage_file.exists():
            month, usage = _read_usage(self._usage_file)
            self._usage = usage if month == self._month else {}

    def admit(self, secret: str | None, address: str, characters: int = 0) -> ApiKey | None:
        """Count a request and its characters.

        Args:
            secret: API key of the request.
            address: Client address, which is rate-limited if there are no keys.
            characters: Source characters to count towards the quota.

        Returns:
            The key, or None if the server has no keys.

        Raises:
            ApiError: 403 for a missing or wrong key, 429 over the rate, 456 over the quota.
        """
        key = self.authenticate(secret) if self.keys_required else None
        rate = key.per_minute if key and key.per_minute else self._per_minute
        self._take_token(key.name if key else address, rate)
        if key:
            used = self.characters_used(key)
            if key.characters is not None and used + characters > key.characters:
                message = f"quota exceeded: {used:,} of {key.characters:,} characters used this month"
                raise ApiError(_QUOTA_EXCEEDED, message)
            self._usage[key.name] = used + characters
            self._unsaved = self._unsaved or characters > 0
        return key

    def authenticate(self, secret: str | None) -> ApiKey:
        """Return the key with this secret, without counting a request.

        Raises:
            ApiError: 403 if the secret is missing or wrong.
        """
        if not secret:
            raise ApiError(_FORBIDDEN, "an API key is required; ask the operator of this server for one")
        digest = _sha256(secret)
        matches = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]  # all, in constant time
        if not matches:
            raise ApiError(_FORBIDDEN, "invalid API key")
        return matches[0]

    def characters_used(self, key: ApiKey) -> int:
        """Return the source characters that a key has used in the current month."""
        if self._month != _current_month():
            self._month, self._usage = _current_month(), {}
        return self._usage.get(key.name, 0)

    def save_usage(self) -> None:
        """Write the monthly usage if it has changed.

        Raises:
            UserError: If the file cannot be written.
        """
        if self._unsaved and self._usage_file:
            _write_private_json(self._usage_file, {"month": self._month, "used": self._usage})
            self._unsaved = False

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


def _current_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


def _write_private_json(file: Path, content: object) -> None:
    """Replace the file atomically; only its owner can read it."""
    new = file.with_name(file.name + ".new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)
        new.replace(file)
    except OSError as error:
        raise cannot_write(file, error) from error
