"""API keys: who may translate, how often, and how much in a month.

The file is JSON: a list of `{"name", "sha256", "per_minute", "characters"}`, the last two null for no limit. A key is
256 random bits, so its plain SHA-256 tells nobody what it was. Characters used are kept beside it, month by month.
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

_FORBIDDEN, _TOO_MANY, _QUOTA = 403, 429, 456
_MOST_CLIENTS = 10_000  # remembered at once


@dataclass(frozen=True)
class Key:
    """per_minute: requests; characters: of source text in a calendar month (UTC)."""

    name: str
    sha256: str
    per_minute: int | None = None
    characters: int | None = None


def add_key(file: Path, name: str, per_minute: int | None = None, characters: int | None = None) -> str:
    """Makes a key, writes its hash into the file and returns the key, which is stored nowhere. Errors: `UserError`."""
    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise UserError(f"{file}: there is a key named {name} already. Choose another name, or take the old one out.")
    secret = f"ayn_{secrets.token_urlsafe(32)}"
    _write(file, [asdict(key) for key in [*keys, Key(name, _hash(secret), per_minute, characters)]])
    return secret


def read_keys(file: Path) -> list[Key]:
    """Errors: `UserError` when the file is missing or is not one of keys."""
    try:
        return [Key(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: not a file of keys ({error}). Make one with --add-key NAME.") from error


def _read_usage(file: Path) -> tuple[str, dict[str, int]]:
    """Month, and characters of each key. Errors: `UserError` where the file is damaged."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return str(kept["month"]), {str(name): int(count) for name, count in kept["used"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "Delete it: the month's characters are then counted anew."
        raise UserError(f"{file}: what each key has used this month cannot be read. {remedy}") from error


class Gate:
    """Lets requests in. Without a file of keys everybody may come, at `per_minute` requests an address."""

    def __init__(self, file: Path | None, per_minute: int | None = None):
        self._keys = read_keys(file) if file else []
        self.required = file is not None
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # of a client: requests left, and when that was so
        self._usage_file = file.with_suffix(".usage.json") if file else None
        self._month = _month()
        self._used: dict[str, int] = {}
        self._changed = False
        if self._usage_file and self._usage_file.exists():
            month, used = _read_usage(self._usage_file)
            self._used = used if month == self._month else {}

    def enter(self, secret: str | None, address: str, characters: int = 0) -> Key | None:
        """Counts a request and its characters, and returns its key. Errors: `ApiError` 403, 429 or 456."""
        key = self.identify(secret) if self.required else None
        self._take(key.name if key else address, key.per_minute if key and key.per_minute else self._per_minute)
        if key:
            used = self.used(key)
            if key.characters is not None and used + characters > key.characters:
                raise ApiError(_QUOTA, f"quota exceeded: {used:,} of {key.characters:,} characters used this month")
            self._used[key.name] = used + characters
            self._changed = self._changed or characters > 0
        return key

    def identify(self, secret: str | None) -> Key:
        """Every key is compared, each in constant time. Errors: `ApiError` 403."""
        if not secret:
            raise ApiError(_FORBIDDEN, "an API key is required; ask whoever runs this server for one")
        given = _hash(secret)
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, given)]
        if not found:
            raise ApiError(_FORBIDDEN, "invalid API key")
        return found[0]

    def used(self, key: Key) -> int:
        """Characters in this month."""
        if self._month != _month():
            self._month, self._used = _month(), {}
        return self._used.get(key.name, 0)

    def save(self) -> None:
        """Keeps what was used, if that changed."""
        if self._changed and self._usage_file:
            _write(self._usage_file, {"month": self._month, "used": self._used})
            self._changed = False

    def _take(self, client: str, per_minute: int | None) -> None:
        """A bucket of `per_minute` requests that fills up evenly."""
        if per_minute is None:
            return
        now = time.monotonic()
        left, then = self._buckets.pop(client, (float(per_minute), now))
        left = min(per_minute, left + (now - then) * per_minute / 60)
        self._buckets[client] = (max(left - 1, left if left < 1 else 0.0), now)
        if len(self._buckets) > _MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]  # the one that was silent for longest
        if left < 1:
            wait = int((1 - left) * 60 / per_minute) + 1
            raise ApiError(_TOO_MANY, f"too many requests: at most {per_minute} a minute; try again in {wait} s", wait)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


def _write(file: Path, content: object) -> None:
    """Whole or not at all, for the owner's eyes only."""
    beside = file.with_name(file.name + ".new")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)
        beside.replace(file)
    except OSError as error:
        raise cannot_write(file, error) from error
