"""Translation memories in TMX 1.4 (and earlier), as sentence pairs of two languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from allyouneed.data.files.readers.inline_text import InlineText
from allyouneed.data.files.readers.units import Unit, UnitFile
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.xml_stream import stream_xml

_CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))  # native code of a document; <hi> is text
_MARKERS = frozenset(("it", "ph", "ut"))
_MOST_VARIANTS = 1000  # texts of a unit


def open_pairs(path: Path, columns: Columns) -> UnitFile:
    """Open a translation memory."""
    return UnitFile(path, columns, partial(_units, path))


def _units(path: Path, wants: Callable[[str], bool]) -> Iterator[Unit]:
    return stream_xml(path, _Memory(wants))


class _Memory:
    """Listener that collects the units of a translation memory."""

    def __init__(self, wants: Callable[[str], bool]):
        self._wants, self._wanted = wants, dict[str, bool]()
        self._text = InlineText(_CODES, _MARKERS)
        self._units: list[Unit] = []
        self._texts: dict[str, str] = {}
        self._line, self._language = 0, ""
        self._fault: str | None = None
        self.reads_text = False
        self.characters = self._text.characters

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        text = self._text
        if text.is_open:
            text.start(name)
            self.reads_text = text.reads_text
        elif name == "seg":
            if self._is_wanted(self._language):
                text.open()
                self.reads_text = True
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif name == "tu":
            self._line, self._texts, self._fault = line, {}, None

    def end(self, name: str) -> None:
        text = self._text
        if name == "seg" and text.is_open:
            if self._language not in self._texts and len(self._texts) < _MOST_VARIANTS:
                self._texts[self._language] = text.close()
                self._fault = self._fault or text.fault
            text.is_open = self.reads_text = False
        elif text.is_open:
            text.end()
            self.reads_text = text.reads_text
        elif name == "tu":
            self._units.append(Unit(self._line, self._texts, self._fault))

    def entity(self, name: str) -> None:
        self._text.entity(name)

    def take(self) -> list[Unit]:
        units, self._units = self._units, []
        return units

    def _is_wanted(self, language: str) -> bool:
        wanted = self._wanted.get(language)
        if wanted is None:
            if len(self._wanted) >= _MOST_VARIANTS:
                self._wanted.clear()
            wanted = self._wanted[language] = self._wants(language)
        return wanted
