"""Streaming of XML documents of any size in constant memory, by expat of Python's standard library.

Nothing outside the document is read: no DTD, no external entity. Entities that the document declares are not expanded;
text that refers to one is reported, so that it is not used in part. Control characters, which XML forbids but exported
files have, become spaces, and NUL characters are removed, as in plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from xml.parsers import expat

from allyouneed.data.files.encoding import advice, guess_encoding, is_utf8, transcode, wide_encoding
from allyouneed.data.files.lines import SPACES
from allyouneed.data.files.opening import open_content
from allyouneed.errors import UserError

Item = TypeVar("Item", covariant=True)

_CHUNK = 1 << 16
_MOST_NESTED = 1000
_LONGEST_TAG = 1 << 22  # bytes of a tag, comment or declaration, which expat keeps in memory
LONGEST_TEXT = 1 << 20  # characters of a segment
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_FORBIDDEN = re.compile(  # references to characters that XML forbids
    rb"&#(?:0{0,8}(?:[0-8]|1[124-9]|2\d|3[01])|[xX]0{0,8}(?:[0-8bcefBCEF]|1[0-9a-fA-F]|[fF]{3}[eEfF]));"
)
_LONGEST_REFERENCE = 20


class Listener(Protocol, Generic[Item]):
    """Receiver of a document's elements, with local names, that collects items.

    Attributes:
        reads_text: Whether the text of the current position is needed; text elsewhere is not passed on.
        text: Text collected since the listener cleared it.
        unknown: Name of an entity within the text that is not expanded; None if there was none.
        line: Line of the current position, from 1; set before each call.
    """

    reads_text: bool

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        """Receive a start tag: its local name, its attributes and its line, from 1."""

    def end(self, name: str) -> None:
        """Receive an end tag."""

    def characters(self, text: str) -> None:
        """Receive text."""

    def entity(self, name: str) -> None:
        """Receive a reference to an entity that is not expanded."""

    def take(self) -> Iterable[Item]:
        """Return the items that are complete, and forget them."""


def stream_xml(path: Path, listener: Listener[Item]) -> Iterator[Item]:
    """Yield the items that a listener finds in an XML document, compressed or not.

    Raises:
        UserError: If the document cannot be read, is not well-formed, or has elements nested too deeply or tags that
            are too long.
    """
    with open_content(path) as stream:
        chunks = _prepared(iter(lambda: stream.read1(_CHUNK), b""), path)
        parser = _Parser(path, listener)
        fed = 0
        for chunk in chunks:
            parser.feed(chunk)
            fed += len(chunk)
            yield from listener.take()
            if fed - parser.position > _LONGEST_TAG:
                size = f"{_LONGEST_TAG >> 20} MiB"
                raise UserError(f"{path}:{parser.line}: a tag or comment of more than {size}. The file is damaged.")
        parser.feed(b"", final=True)
        yield from listener.take()


class _Parser(Generic[Item]):
    """Expat with limits, and with messages that name the line."""

    def __init__(self, path: Path, listener: Listener[Item]):
        self.path, self._listener, self._depth, self._fed = path, listener, 0, 0
        self._reads_text = False
        self._parser = parser = expat.ParserCreate("UTF-8")  # whatever the document declares: it was converted
        parser.buffer_text, parser.buffer_size = True, _CHUNK
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.SkippedEntityHandler = lambda name, _: listener.entity(name)
        parser.EntityDeclHandler = self._declare

    @property
    def position(self) -> int:
        """Bytes of the document that are parsed."""
        return self._parser.CurrentByteIndex

    @property
    def line(self) -> int:
        """Line of the current position, from 1."""
        return self._parser.CurrentLineNumber

    def feed(self, chunk: bytes, final: bool = False) -> None:
        """Parse more of the document; raises `UserError` if it is not well-formed."""
        try:
            self._parser.Parse(chunk, final)
            self._fed += len(chunk)
        except expat.ExpatError as error:
            self._check_encoding(chunk, error.lineno)
            reason = expat.ErrorString(error.code)
            raise UserError(
                f"{self.path}:{error.lineno}: not well-formed XML ({reason}). Correct the file at this line, or export "
                "it again."
            ) from error

    def _check_encoding(self, chunk: bytes, line: int) -> None:
        """Name the probable encoding if the text at an error is not UTF-8; raises `UserError`."""
        start = self._parser.ErrorByteIndex - self._fed
        if start < 0 or any(is_utf8(chunk[start : start + size]) for size in (1, 2, 3, 4)):
            return
        guess = guess_encoding(text for text in chunk[start:].split(b"\n") if not is_utf8(text))
        raise UserError(
            f"{self.path}:{line}: not in the encoding that the document declares; {advice(self.path, guess)}"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise UserError(f"{self.path}:{self.line}: more than {_MOST_NESTED:,} nested tags. The file is damaged.")
        listener = self._listener
        listener.start(name if ":" not in name else name.rpartition(":")[2], attributes, self._parser.CurrentLineNumber)
        if listener.reads_text is not self._reads_text:
            self._pass_text(listener.reads_text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        listener = self._listener
        listener.end(name if ":" not in name else name.rpartition(":")[2])
        if listener.reads_text is not self._reads_text:
            self._pass_text(listener.reads_text)

    def _pass_text(self, reads_text: bool) -> None:
        """Pass text on to the listener, or not: text between elements is the most frequent event."""
        self._reads_text = reads_text
        self._parser.CharacterDataHandler = self._listener.characters if reads_text else None

    def _declare(self, *_: object) -> None:
        """Do not expand entities: expat passes references to them on if there is a handler for everything else."""
        self._parser.DefaultHandler = self._pass_reference

    def _pass_reference(self, text: str) -> None:
        if text.startswith("&") and text.endswith(";") and self._listener.reads_text:
            self._listener.entity(text[1:-1])


def _known_encoding(name: str, path: Path) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise UserError(f"{path}: declares the encoding {name}, which is not known. Save it as UTF-8.") from error
    return name


def _prepared(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Convert a document to UTF-8, without characters that XML forbids."""
    head = next(chunks, b"")
    declared = _DECLARED.match(head.removeprefix(b"\xef\xbb\xbf").lstrip())
    chunks = chain([head], chunks)
    if code := wide_encoding(head[:1000]):
        chunks = transcode(chunks, code, path)
    elif declared and (name := declared[1].decode()).lower() not in ("utf-8", "utf8", "utf-16", "us-ascii"):
        chunks = transcode(chunks, _known_encoding(name, path), path)
    rest = b""
    for chunk in chunks:
        chunk = (rest + chunk).translate(SPACES, b"\0")
        rest = b""
        if b"&#" in chunk:
            cut = chunk.rfind(b"&")
            if len(chunk) - cut < _LONGEST_REFERENCE and b";" not in chunk[cut:]:
                chunk, rest = chunk[:cut], chunk[cut:]
            chunk = _FORBIDDEN.sub(b" ", chunk)
        yield chunk
    yield rest
