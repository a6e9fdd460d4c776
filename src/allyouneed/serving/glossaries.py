"""Glossaries of a server's clients, stored on disk: a folder for each API key, and in it a folder for each glossary.

A glossary has a dictionary for each of its language pairs. Its folder has `glossary.json` (the name and the number of
entries) and the entries of each dictionary as a TSV file.
"""

from __future__ import annotations

import csv
import logging
import re
import shutil
import threading
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import recover_all, write_folder
from allyouneed.json_text import to_json
from allyouneed.serving.api_errors import ApiError
from allyouneed.translation.terminology.glossary import Entry, Glossary
from allyouneed.translation.terminology.glossary_files import term_problem
from allyouneed.untrusted import cannot_read, changed, read_regular, read_typed

_log = logging.getLogger(__name__)
_INFORMATION = "glossary.json"
_REMEDY = "Delete the folder; the client must create the glossary again."
_LONGEST_TERM, _LONGEST_NAME = 1024, 1024  # bytes of UTF-8, as in DeepL's API
_LARGEST_TABLE = 1 << 28  # bytes
_MOST_GLOSSARIES = 1000  # per key, as in DeepL's API
_INVALID, _NOT_FOUND, _TOO_LARGE, _QUOTA_EXCEEDED = 400, 404, 413, 456
Pair = tuple[str, str]  # source and target language, without regions
_Code: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]  # a part of the name of a file


@dataclass(frozen=True)
class StoredDictionary:
    """A dictionary of a glossary; the fields are those of DeepL's API."""

    source_lang: _Code
    target_lang: _Code
    entry_count: int


@dataclass(frozen=True)
class StoredGlossary:
    """A stored glossary; the fields are those of DeepL's API."""

    glossary_id: str
    name: str
    creation_time: str
    dictionaries: tuple[StoredDictionary, ...]

    def dictionary(self, pair: Pair) -> StoredDictionary | None:
        """Return the dictionary of a language pair, or None."""
        return next((each for each in self.dictionaries if (each.source_lang, each.target_lang) == pair), None)


class GlossaryStore:
    """The glossaries of all clients of a server. It is thread-safe.

    Args:
        folder: Where they are stored.
        max_bytes: Maximum size of a glossary's entries in bytes of UTF-8.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self._folder, self._max_bytes, self._lock = folder, max_bytes, threading.Lock()

    def create(self, owner: str, name: str, dictionaries: Iterable[tuple[Pair, Sequence[Entry]]]) -> StoredGlossary:
        """Store a new glossary.

        Args:
            owner: Identifier of the client.
            name: Name of the glossary.
            dictionaries: Language pairs and entries.

        Raises:
            ApiError: 400 for an invalid name or a repeated pair, 413 if it is too large, 456 if there are too many.
        """
        check_name(name)
        entries = list(dictionaries)
        if len({pair for pair, _ in entries}) < len(entries):
            raise ApiError(_INVALID, "a glossary has one dictionary for each language pair; join those of one pair")
        with self._lock:
            if len(self._identifiers(owner)) >= _MOST_GLOSSARIES:
                raise ApiError(
                    _QUOTA_EXCEEDED, f"the maximum of {_MOST_GLOSSARIES:,} glossaries is reached; delete some"
                )
            created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return self._write(owner, StoredGlossary(str(uuid.uuid4()), name, created, ()), dict(entries))

    def all(self, owner: str) -> list[StoredGlossary]:
        """Return the glossaries of a client, oldest first."""
        found = []
        for identifier in self._identifiers(owner):
            with suppress(ApiError):  # a damaged glossary does not hide the others
                found.append(self.get(owner, identifier))
        return sorted(found, key=lambda each: (each.creation_time, each.glossary_id))

    def get(self, owner: str, identifier: str) -> StoredGlossary:
        """Return a glossary without its entries.

        Raises:
            ApiError: 404 if the client has no such glossary, 503 if its file is damaged.
        """
        path = self._path(owner, identifier) / _INFORMATION
        if not path.is_file():
            raise ApiError(_NOT_FOUND, "glossary not found")
        with _problems_logged():
            return replace(read_typed(path, StoredGlossary, _REMEDY), glossary_id=identifier)

    def entries(self, owner: str, identifier: str, pair: Pair) -> str:
        """Return the entries of a dictionary as TSV.

        Raises:
            ApiError: 404 if the client has no such glossary, or it has no such dictionary.
        """
        if not self.get(owner, identifier).dictionary(pair):
            raise ApiError(_NOT_FOUND, f"the glossary has no dictionary from {pair[0]} to {pair[1]}")
        with _problems_logged():
            return _read_table(self._table(owner, identifier, pair))

    def update(
        self, owner: str, identifier: str, name: str | None, changes: dict[Pair, Sequence[Entry] | None], merge: bool
    ) -> StoredGlossary:
        """Change the name or dictionaries of a glossary.

        Args:
            owner: Identifier of the client.
            identifier: Id of the glossary.
            name: New name; None to keep it.
            changes: New entries of dictionaries; None removes a dictionary.
            merge: Whether new entries are added to those of an existing dictionary, instead of replacing them.

        Raises:
            ApiError: 404 if there is no such glossary, 400 for an invalid name, 413 if it becomes too large.
        """
        if name is not None:
            check_name(name)
        with self._lock:
            stored = self.get(owner, identifier)
            pairs = [(each.source_lang, each.target_lang) for each in stored.dictionaries]
            contents = {pair: _parsed(self.entries(owner, identifier, pair)) for pair in pairs}
            for pair, entries in changes.items():
                if entries is None:
                    contents.pop(pair, None)
                else:
                    existing = contents.get(pair, []) if merge else []
                    contents[pair] = [Entry(*each) for each in (dict(existing) | dict(entries)).items()]
            return self._write(owner, replace(stored, name=name or stored.name), contents)

    def delete(self, owner: str, identifier: str) -> None:
        """Delete a glossary.

        Raises:
            ApiError: 404 if the client has no such glossary.
        """
        with self._lock:
            self.get(owner, identifier)
            shutil.rmtree(self._path(owner, identifier))

    def load(self, owner: str, identifiers: Sequence[str], pair: Pair) -> Glossary:
        """Return the glossary for a translation; of several glossaries, the first that has a term decides.

        Raises:
            ApiError: 404 if the client has no such glossary, 400 if it has no dictionary for the language pair.
        """
        tables = []
        for identifier in identifiers:
            if not self.get(owner, identifier).dictionary(pair):
                raise ApiError(
                    _INVALID, f"No dictionary found for language pair {pair[0]} to {pair[1]} in the glossary"
                )
            tables.append(self._table(owner, identifier, pair))
        with _problems_logged():
            return _loaded(tuple((path, _modified(path)) for path in tables), pair)

    def _write(self, owner: str, stored: StoredGlossary, contents: Mapping[Pair, Sequence[Entry]]) -> StoredGlossary:
        tables = {
            pair: "".join(f"{entry.source}\t{entry.target}\n" for entry in each) for pair, each in contents.items()
        }
        size = sum(len(table.encode("utf-8")) for table in tables.values())
        if size > self._max_bytes:
            raise ApiError(_TOO_LARGE, f"the glossary has {size:,} bytes; the limit is {self._max_bytes:,}. Divide it.")
        counts = tuple(StoredDictionary(*pair, len(entries)) for pair, entries in contents.items())
        stored = replace(stored, dictionaries=counts)
        files: dict[str, bytes | str] = {_file_name(pair): table for pair, table in tables.items()}
        with _problems_logged():
            write_folder(self._path(owner, stored.glossary_id), {_INFORMATION: to_json(asdict(stored)), **files})
        return stored

    def _identifiers(self, owner: str) -> list[str]:
        folder = self._folder / owner
        if not folder.is_dir():
            return []
        recover_all(folder)
        return [path.name for path in folder.iterdir() if (path / _INFORMATION).is_file()]

    def _path(self, owner: str, identifier: str) -> Path:
        try:
            name = str(uuid.UUID(identifier))  # a client's text must not become a path
        except ValueError:
            raise ApiError(_NOT_FOUND, "glossary not found") from None
        return self._folder / owner / name

    def _table(self, owner: str, identifier: str, pair: Pair) -> Path:
        return self._path(owner, identifier) / _file_name(pair)


def check_name(name: str) -> None:
    """Raise `ApiError` if a name is empty or too long."""
    if not name.strip() or len(name.encode("utf-8")) > _LONGEST_NAME:
        raise ApiError(_INVALID, f"the name of a glossary has 1 to {_LONGEST_NAME:,} bytes")


def parse_entries(text: str, entries_format: str) -> list[Entry]:
    """Parse the entries of a request.

    Args:
        text: TSV, or CSV with the source, the target and possibly the codes of the languages.
        entries_format: "tsv" or "csv".

    Raises:
        ApiError: 400 naming the first invalid entry.
    """
    lines = re.split("\r\n|\n|\r", text)
    rows = _csv_rows(lines) if entries_format == "csv" else (line.split("\t") for line in lines)
    found: dict[str, str] = {}
    for number, cells in enumerate(rows, start=1):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) not in ((2, 4) if entries_format == "csv" else (2,)):
            raise ApiError(_INVALID, f"invalid glossary entries: entry {number} has {len(cells)} columns instead of 2")
        source, target = (unicodedata.normalize("NFC", cell.strip()) for cell in cells[:2])
        for term in (source, target):
            problem = term_problem(term)
            if len(term.encode("utf-8")) > _LONGEST_TERM:
                problem = f"has more than {_LONGEST_TERM:,} bytes"
            if problem:
                raise ApiError(_INVALID, f"invalid glossary entries: a term of entry {number} {problem}")
        if source in found:
            raise ApiError(_INVALID, f'invalid glossary entries: entry {number} repeats the source term "{source}"')
        found[source] = target
    if not found:
        raise ApiError(_INVALID, "invalid glossary entries: there are none")
    return [Entry(*each) for each in found.items()]


def _csv_rows(lines: Sequence[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(line + "\n" for line in lines)
    except csv.Error as error:  # a missing quotation mark makes a cell as long as the text
        raise ApiError(_INVALID, f"invalid glossary entries: {error}") from error


def _file_name(pair: Pair) -> str:
    return f"{pair[0]}_{pair[1]}.tsv"


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise cannot_read(path, error, _REMEDY) from error


def _read_table(path: Path) -> str:
    """Read the entries of a dictionary as TSV; raises `UserError` if the file is missing or damaged."""
    try:
        table = read_regular(path, _LARGEST_TABLE).decode("utf-8")
    except OSError as error:
        raise cannot_read(path, error, _REMEDY) from error
    except ValueError as error:
        raise DamagedFile(f"{path}: not text in UTF-8. {_REMEDY}") from error
    if any(line.count("\t") != 1 for line in table.split("\n") if line):
        raise changed(path, _REMEDY)
    return table


def _parsed(table: str) -> list[Entry]:
    return [Entry(*line.split("\t")) for line in table.split("\n") if line]


@lru_cache(maxsize=16)
def _loaded(tables: tuple[tuple[Path, int], ...], pair: Pair) -> Glossary:
    """Return the entries of tables, each with its time of modification, with their index, which takes long to build."""
    entries = [entry for path, _ in tables for entry in _parsed(_read_table(path))]
    glossary = Glossary(tuple(entries), *pair)
    glossary.build_index()
    return glossary


@contextmanager
def _problems_logged() -> Iterator[None]:
    """Log problems of the disk, whose messages name files of the server, and raise a general error instead."""
    try:
        yield
    except UserError as error:
        _log.error("glossaries: %s", error)
        raise ApiError(503, "the glossary could not be stored or read; try later", 60) from error
