"""JSON for files: readable, or on one line; NaN and infinity, which JSON lacks, become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


def to_json(content: object) -> str:
    """Serialise to JSON for a file: indented, non-ASCII characters unescaped, with a final newline; see `json_line`."""
    return json_line(content, indent=1) + "\n"


def json_line(content: object, indent: int | None = None) -> str:
    """Serialise to JSON, with null for NaN and infinity, which JSON lacks."""
    try:
        return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content: object) -> object:
    """Copy nested dictionaries and lists, with None for floats that are not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
