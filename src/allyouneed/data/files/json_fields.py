"""Texts in JSON records: flat or nested objects, arrays, and the forms of data sets on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

Texts: TypeAlias = str | list[str]

_CONTROL = re.compile(r"[\x01-\x08\x0a-\x1f\x7f]+")
_MOST_NESTED = 5
_MOST_FIELDS = 10_000
_LANGUAGE = ("language", "lang", "locale")
_TEXT = ("text", "translation", "value", "sentence")
UNEQUAL = "lists of different lengths"
_NO_TEXT = "not a JSON object"


def as_record(value: object) -> Mapping[str, Any] | None:
    """Return the fields of a record: an object, or an array of texts with numbers for names; None for another value.

    An object in the field `translation` takes the place of the record, as in the data sets of Hugging Face.
    """
    if isinstance(value, list):
        value = by_language(value) or {str(number): each for number, each in enumerate(value, 1)}
    if not isinstance(value, dict):
        return None
    inner = value.get("translation")
    if isinstance(inner, dict):
        return by_language(inner) or inner
    lists = (each for each in value.values() if isinstance(each, list))
    return next((found for each in lists if (found := by_language(each))), value)


def by_language(value: object) -> dict[str, Any] | None:
    """Return texts by language of an object with a list of each, or of a list of objects with a language and a text."""
    if isinstance(value, dict):
        languages, texts = value.get("language"), value.get("translation")
        if isinstance(languages, list) and isinstance(texts, list) and len(languages) == len(texts):
            pairs = zip(languages, texts, strict=True)
            return {code: text for code, text in reversed(list(pairs)) if isinstance(code, str)}
        return None
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return None
    found: dict[str, Any] = {}
    for each in value:
        code = next((each[name] for name in _LANGUAGE if isinstance(each.get(name), str)), None)
        text = next((each[name] for name in _TEXT if isinstance(each.get(name), str)), None)
        if code is None or text is None:
            return None
        found.setdefault(code, text)
    return found


def names_of(records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the fields with text, or lists of texts, in some records; nested ones with dots."""
    found = (name for record in records for name, _ in _leaves(record, "", 0))
    return tuple(dict.fromkeys(islice(found, _MOST_FIELDS)))


def texts_of(record: Mapping[str, Any], names: Sequence[str]) -> tuple[list[list[str]], str | None]:
    """Return the texts of some fields of a record, one line each.

    Returns:
        Rows of cells: one, or as many as the lists in the fields have items; and why they cannot be used, or None. The
        text of a missing field is empty.
    """
    values = [_value(record, name) for name in names]
    if not any(isinstance(value, list) for value in values):
        return [[one_line(value) if isinstance(value, str) else "" for value in values]], None
    lists = [value for value in values if isinstance(value, list)]
    if len({len(value) for value in lists}) > 1:
        return [["" for _ in names]], UNEQUAL
    columns = [value if isinstance(value, list) else [value] * len(lists[0]) for value in values]
    rows = zip(*columns, strict=True)
    return [[one_line(value) if isinstance(value, str) else "" for value in row] for row in rows], None


def one_line(text: str) -> str:
    """Return a text with spaces in place of line ends and control characters, and without NUL, as plain text has."""
    return text if text.isprintable() else _CONTROL.sub(" ", text.replace("\0", ""))


def _value(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if value is None and "." in name:
        first, _, rest = name.partition(".")
        inner = record.get(first)
        return _value(inner, rest) if isinstance(inner, dict) else None
    return value


def _leaves(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Texts]]:
    for name, value in record.items():
        if isinstance(value, dict) and depth < _MOST_NESTED:
            yield from _leaves(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], str)):
            yield prefix + name, value
