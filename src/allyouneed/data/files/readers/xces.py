"""Sentence alignments of OPUS (XCES), which name the sentences of XML documents in both languages by their ids.

The documents are found beside the alignment, compressed or not, or in ZIP archives beside it, as OPUS distributes them.
Both are streamed; a document may have any number of sentences, of which those near the current position are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from allyouneed.data.files.grouping import language_in
from allyouneed.data.files.opening import is_zip
from allyouneed.data.files.readers.inline_text import InlineText
from allyouneed.data.files.readers.units import Unit, UnitFile
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.xml_stream import stream_xml
from allyouneed.errors import UserError
from allyouneed.zip_files import open_zip

_NEAR = 10_000  # sentences before and after the current one that are in memory
_FOLDERS = ("", "raw", "xml", "parsed")  # of documents; those in `raw` are not divided into words
_MISSING = "a sentence of the alignment is not in its document"


class _Link(NamedTuple):
    """A link between sentences, or the beginning of a group of links between two documents."""

    line: int
    sources: str
    targets: str
    is_group: bool


def open_pairs(path: Path, columns: Columns) -> UnitFile:
    """Open an alignment."""
    return UnitFile(path, columns, partial(_units, path, columns.codes))


def _units(path: Path, requested: tuple[str, str] | None, wants: Callable[[str], bool]) -> Iterator[Unit]:
    library = _Library(path)
    documents: tuple[_Document, _Document] | None = None
    languages = requested or ("und", "mul")
    for link in stream_xml(path, _Links()):
        if link.is_group:
            source, target = (library.find(name, link.line) for name in (link.sources, link.targets))
            documents = _Document(source), _Document(target)
            named = [_language_of(name) for name in (link.sources, link.targets)]
            named = named if all(named) else [*path.name.partition(".")[0].partition("-")[::2]]
            languages = (named[0], named[1]) if all(map(language_in, named)) else languages
        elif documents:
            texts = [_text(document, ids) for document, ids in zip(documents, link[1:3], strict=True)]
            fault = _MISSING if None in texts else None
            if texts[0] != "" and texts[1] != "":
                yield Unit(link.line, {code: text or "" for code, text in zip(languages, texts, strict=True)}, fault)


def _text(document: _Document, ids: str) -> str | None:
    """Return the sentences with some ids, joined; None if one is missing."""
    sentences = [document.sentence(each) for each in ids.split()]
    return None if None in sentences else " ".join(sentence for sentence in sentences if sentence)


def _language_of(name: str) -> str:
    """Return the language of a document by the folders in its name."""
    return next((code for part in PurePosixPath(name).parts[:-1] if (code := language_in(part))), "")


class _Links:
    """Listener that collects links."""

    reads_text = False

    def __init__(self) -> None:
        self._links: list[_Link] = []

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        if name == "link":
            sources, _, targets = attributes.get("xtargets", "").partition(";")
            self._links.append(_Link(line, sources, targets, False))
        elif name == "linkGrp":
            self._links.append(_Link(line, attributes.get("fromDoc", ""), attributes.get("toDoc", ""), True))

    def end(self, name: str) -> None: ...

    def characters(self, text: str) -> None: ...

    def entity(self, name: str) -> None: ...

    def take(self) -> list[_Link]:
        links, self._links = self._links, []
        return links


class _Sentences:
    """Listener that collects the sentences of a document with their ids."""

    def __init__(self) -> None:
        self._text, self._id = InlineText(frozenset(), frozenset()), ""
        self._found: list[tuple[str, str]] = []
        self.reads_text = False
        self.characters, self.entity = self._text.characters, self._text.entity

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        if name == "s":
            self._id = attributes.get("id", "")
            self._text.open()
            self.reads_text = True

    def end(self, name: str) -> None:
        if name == "s" and self.reads_text:
            self._found.append((self._id, " ".join(self._text.close().split())))
            self.reads_text = False

    def take(self) -> list[tuple[str, str]]:
        found, self._found = self._found, []
        return found


class _Document:
    """A document whose sentences are found by their ids, near to the one found last."""

    def __init__(self, path: Path):
        self._sentences = stream_xml(path, _Sentences())
        self._near: dict[str, tuple[int, str]] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._read = self._position = 0

    def sentence(self, name: str) -> str | None:
        """Return a sentence; None if it is not in the document, or far from the one found last."""
        while name not in self._near and self._read - self._position < _NEAR:
            following = next(self._sentences, None)
            if following is None:
                return None
            self._read += 1
            self._near[following[0]] = self._read, following[1]
            self._order.append((self._read, following[0]))
        if name not in self._near:
            return None
        self._position, text = self._near[name]
        while self._order[0][0] < self._position - _NEAR:
            number, far = self._order.popleft()
            if self._near[far][0] == number:  # not another sentence with the same id
                del self._near[far]
        return text


class _Library:
    """The documents of an alignment."""

    def __init__(self, path: Path):
        self._path = path
        self._archived: dict[str, Path] | None = None

    def find(self, name: str, line: int) -> Path:
        """Return the path of a document.

        Raises:
            UserError: If it is not found.
        """
        plain = PurePosixPath(name.removesuffix(".gz"))
        if not plain.is_absolute() and ".." not in plain.parts and plain.parts:
            for folder in self._folders:
                for inner in _FOLDERS:
                    for ending in ("", ".gz"):
                        if (document := folder / inner / f"{plain}{ending}").is_file():
                            return document
            if found := self._in_archives().get(str(plain)):
                return found
        raise UserError(
            f"{self._path}:{line}: the document {name} is not beside the alignment. Put the documents of both "
            "languages, or the ZIP archives with them, into the same folder."
        )

    @cached_property
    def _folders(self) -> list[Path]:
        """The folders in which documents may be: the alignment's, the one above, and those of unpacked archives."""
        own = self._path.parent
        within = sorted(path for path in own.iterdir() if path.is_dir()) if own.is_dir() else []
        return [own, *own.parents[:1], *within]

    def _in_archives(self) -> dict[str, Path]:
        """Return the documents in the ZIP archives beside the alignment, or in its own, by their names within OPUS."""
        if self._archived is None:
            self._archived = {}
            own = [parent for parent in self._path.parents if parent.is_file()]
            for archive in own or sorted(self._path.parent.iterdir()):
                if archive.is_file() and is_zip(archive):
                    with open_zip(archive, str(archive)) as opened:
                        for entry in opened.namelist():
                            self._archived.setdefault(_within(entry), archive / entry)
        return self._archived


def _within(entry: str) -> str:
    """Return the name of a document as alignments have it: what follows the folder `xml`, `raw` or `parsed`."""
    parts = PurePosixPath(entry.removesuffix(".gz")).parts
    start = next((index + 1 for index, part in enumerate(parts) if part in _FOLDERS), 0)
    return "/".join(parts[start:])
