"""Records within a JSON document: lists, tables by rows or columns, and objects by identifier or by language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from allyouneed.data.files.headers import side_of
from allyouneed.data.files.json_fields import as_record, names_of

_EXAMINED = 100  # records of a list by which it is recognised
_MOST_NESTED = 8
Path: TypeAlias = tuple[str, ...]


def contained_records(document: Any) -> list[Any]:
    """Return the records within a document; the document itself if nothing within is a record."""
    lists: dict[Path, list[Any]] = {}  # of lists within lists, all that are at the same place
    objects: list[tuple[Path, dict[str, Any]]] = []
    for path, value in _values(document, (), 0):
        if isinstance(value, dict):
            objects.append((path, value))
        elif _are_records(value):
            lists.setdefault(path, []).extend(value)
    several = [records for records in lists.values() if len(records) > 1 or _has_languages(records[0])]
    if several:  # beside it may be a title, a licence or a schema
        return max(several, key=len)
    if rows := _by_language(objects):
        return rows
    if records := [value for _, value in objects if _has_languages(value)]:
        return records
    inner = [value for value in document.values() if isinstance(value, dict)] if isinstance(document, dict) else []
    columns = [dict(_texts(value, ())) for value in inner]
    if 2 <= len(columns) < min(map(len, columns), default=0):  # a table by columns, whose names are no languages
        return _rows({str(number): texts for number, texts in enumerate(columns)})
    return inner if len(inner) > 2 and len(inner) == len(document) else [document]


def _values(value: Any, path: Path, depth: int) -> Iterator[tuple[Path, Any]]:
    """Yield all objects and lists within a value with the names that lead to them, itself included."""
    if depth > _MOST_NESTED or not isinstance(value, dict | list):
        return
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(inner, (*path, name), depth + 1)
    elif not _are_records(value):
        for inner in value:
            yield from _values(inner, (*path, ""), depth + 1)


def _are_records(values: list[Any]) -> bool:
    """Return whether the first values of a list have two texts each."""
    records = [
        record for value in values[:_EXAMINED] if isinstance(value, dict | list) and (record := as_record(value))
    ]
    return len(names_of(records)) > 1


def _by_language(objects: Sequence[tuple[Path, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of objects with an object of texts for each language, such as the messages of a program."""
    rows: list[dict[str, Any]] = []
    last: Path | None = None
    for path, value in objects:
        if last is not None and path[: len(last)] == last:  # within the one found last
            continue
        named = {
            name: dict(_texts(inner, ())) for name, inner in value.items() if isinstance(inner, dict) and side_of(name)
        }
        if len(named) > 1:
            rows += _rows(named)
            last = path
    return rows


def _rows(columns: Mapping[str, Mapping[Path, str]]) -> list[dict[str, Any]]:
    """Return the texts that several columns have under the same names."""
    names = dict.fromkeys(name for texts in columns.values() for name in texts)
    rows = [{column: texts[name] for column, texts in columns.items() if name in texts} for name in names]
    return [row for row in rows if len(row) > 1]


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict) and len(path) < _MOST_NESTED:
        for name, inner in value.items():
            yield from _texts(inner, (*path, name))


def _has_languages(value: Any) -> bool:
    """Return whether an object has texts in two languages, or of both sides."""
    sides = value.items() if isinstance(value, dict) else ()
    return len({side for name, text in sides if isinstance(text, str) and (side := side_of(name))}) > 1
