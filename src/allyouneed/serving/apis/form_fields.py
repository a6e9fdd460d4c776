"""Fields of forms and query strings, with the spellings of lists that HTTP clients use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from allyouneed.serving.api_errors import ApiError

_INDEXED = re.compile(r"(?P<name>\w+)\[(?P<index>\d{0,4})\](?:\.(?P<dotted>\w+)|\[(?P<key>\w+)\])?")
_LONGEST_NAME = 40  # characters of a field's name in a message


def decode_fields(
    items: Iterable[tuple[str, Any]], lists: Collection[str] = (), repeatable: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields of a form or a query string.

    `text=a&text=b`, `text[]=a&text[]=b` and `text[0]=a&text[1]=b` are a list, and `terms[0].name=a&terms[0].size=1` (or
    `terms[0][name]=a`) is a list of objects.

    Args:
        items: Names and values, in the order in which they were sent.
        lists: Fields that are always a list.
        repeatable: Fields that are a list if they are given more than once.

    Raises:
        ApiError: 400 if another field is given more than once.
    """
    values: dict[str, list[Any]] = {}
    objects: dict[str, dict[str, dict[str, Any]]] = {}
    as_lists = set(lists)
    for name, value in items:
        match = _INDEXED.fullmatch(name)
        if match is None:
            values.setdefault(name, []).append(value)
        elif key := match["dotted"] or match["key"]:
            objects.setdefault(match["name"], {}).setdefault(match["index"], {})[key] = value
        else:
            values.setdefault(match["name"], []).append(value)
            as_lists.add(match["name"])
    fields: dict[str, Any] = {name: list(by_index.values()) for name, by_index in objects.items()}
    for name, found in values.items():
        if name in as_lists or (name in repeatable and len(found) > 1):
            fields[name] = found
        elif len(found) == 1:
            fields[name] = found[0]
        else:
            raise ApiError(400, f"{name[:_LONGEST_NAME]}: given {len(found)} times; give it once")
    return fields


def without_empty(fields: Any, required: Collection[str]) -> Any:
    """Return fields without those that are empty text, except required ones; forms send fields that are left empty."""
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if value != "" or name in required}
