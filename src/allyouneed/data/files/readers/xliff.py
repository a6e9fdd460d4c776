"""XLIFF 1.0 to 1.2 and 2.0 to 2.2, as sentence pairs; units that are not translated yet are left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from allyouneed.data.files.readers.inline_text import InlineText
from allyouneed.data.files.readers.units import Unit, UnitFile
from allyouneed.data.files.selection import Columns, other_language
from allyouneed.data.files.xml_stream import stream_xml

_CODES = frozenset(("bpt", "ept", "it", "ph"))  # native code of a document, in version 1; <g>, <pc>, <mrk> are text
_MARKERS = frozenset(("it", "ph", "x"))
_UNITS = ("trans-unit", "segment")
_UNFINISHED = re.compile("new|initial|needs-.*")
_SUGGESTED = re.compile(".*(mt|fuzzy|suggestion).*")  # state qualifiers such as leveraged-mt
_BEGIN, _MIDDLE, _END = "\1\2\3"  # around segments; XML text cannot contain them
_SEGMENT = re.compile(f"{_BEGIN}([^{_MIDDLE}]*){_MIDDLE}([^{_END}]*){_END}")


def open_pairs(path: Path, columns: Columns) -> UnitFile:
    """Open an XLIFF file."""
    return UnitFile(path, columns, partial(_units, path, columns.codes))


def _units(path: Path, languages: tuple[str, str] | None, wants: Callable[[str], bool]) -> Iterator[Unit]:
    return stream_xml(path, _Xliff(languages))


class _Xliff:
    """Listener that collects the translated units of an XLIFF file."""

    def __init__(self, languages: tuple[str, str] | None):
        self._languages = languages
        self._source_language = self._target_language = ""
        self._text = InlineText(_CODES, _MARKERS)
        self._units: list[Unit] = []
        self._texts: dict[str, str] = {}
        self._marks: list[bool] = []  # for each open <mrk>: whether it is a segment
        self._alternatives = self._line = 0
        self._is_finished = False
        self._fault: str | None = None
        self.reads_text = False
        self.characters = self._text.characters
        self.entity = self._text.entity

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        text = self._text
        if text.is_open:
            self._start_inline(name, attributes)
            self.reads_text = text.reads_text
        elif name in ("source", "seg-source", "target"):
            if not self._alternatives:
                if name == "target":
                    self._is_finished = self._is_finished and _is_translation(attributes)
                text.open()
                self._marks.clear()
                self.reads_text = True
        elif name in _UNITS:
            self._line, self._texts, self._fault = line, {}, None
            self._is_finished = attributes.get("state") != "initial"
        elif name in ("alt-trans", "matches"):
            self._alternatives += 1
        elif name in ("file", "xliff"):
            self._read_languages(attributes)

    def end(self, name: str) -> None:
        text = self._text
        if text.is_open and name in ("source", "seg-source", "target"):
            self._texts[name] = text.close()
            self._fault = self._fault or text.fault
            self.reads_text = False
        elif text.is_open:
            if name == "mrk" and self._marks.pop():
                text.characters(_END)
            text.end()
            self.reads_text = text.reads_text
        elif name in _UNITS:
            self._finish()
        elif name in ("alt-trans", "matches"):
            self._alternatives -= 1

    def take(self) -> list[Unit]:
        units, self._units = self._units, []
        return units

    def _read_languages(self, attributes: dict[str, str]) -> None:
        source = attributes.get("source-language") or attributes.get("srcLang") or self._source_language
        target = attributes.get("target-language") or attributes.get("trgLang") or self._target_language
        if source or "source-language" in attributes or "original" in attributes:
            self._source_language = source or other_language(self._languages, target)
            self._target_language = target

    def _start_inline(self, name: str, attributes: dict[str, str]) -> None:
        text = self._text
        text.start(name)
        if name == "mrk":
            self._marks.append(attributes.get("mtype") == "seg")
            if self._marks[-1]:
                text.characters(f"{_BEGIN}{attributes.get('mid', '')[:100]}{_MIDDLE}")
        elif name == "cp" and text.reads_text:  # a character that XML forbids
            text.characters(" ")

    def _finish(self) -> None:
        source, target = self._texts.get("source", ""), self._texts.get("target", "")
        if not target or not source or not self._is_finished:
            return
        segments = [dict(_SEGMENT.findall(text)) for text in (self._texts.get("seg-source", ""), target)]
        if len(segments[0]) > 1 and segments[0].keys() == segments[1].keys():
            for mark, text in segments[0].items():
                self._add(text, segments[1][mark])
        else:
            self._add(source, target)

    def _add(self, source: str, target: str) -> None:
        language = self._target_language or other_language(self._languages, self._source_language)
        texts = {self._source_language: _unmarked(source), language: _unmarked(target)}
        self._units.append(Unit(self._line, texts, self._fault))


def _is_translation(attributes: dict[str, str]) -> bool:
    """Return whether a target of version 1 is a finished translation, by its state."""
    state, qualifier = attributes.get("state", ""), attributes.get("state-qualifier", "")
    if _UNFINISHED.fullmatch(state):
        return False
    return bool(state) or not _SUGGESTED.fullmatch(qualifier)


def _unmarked(text: str) -> str:
    return re.sub(f"{_BEGIN}[^{_MIDDLE}]*{_MIDDLE}|{_END}", "", text) if _BEGIN in text else text
