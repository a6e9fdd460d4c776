"""Paragraphs of OpenDocument: nested spans, spaces as elements, marks, fields (OpenDocument 1.3 part 3, section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import count

from lxml import etree

from allyouneed.documents.formats.office.paragraph_atoms import Alone, Atom, Close, Open, Text
from allyouneed.documents.formats.office.run_paragraph import Dialect
from allyouneed.documents.formats.office.xml_entry import append_text, local_name

TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
STYLE = "urn:oasis:names:tc:opendocument:xmlns:style:1.0"
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_SPACE, _TAB, _LINE_BREAK = (f"{{{TEXT}}}{name}" for name in ("s", "tab", "line-break"))
_STYLE_NAME = f"{{{TEXT}}}style-name"
_WRAPPERS = frozenset(("span", "a", "meta"))
_RANGE = re.compile(r"(.+)-(start|end)")
_RANGE_NAMES = frozenset(("name", "id", "change-id"))
_STALE = frozenset(("soft-page-break",))
_SHOWN_NOWHERE = frozenset(("note", "annotation", "annotation-end", "bookmark", "reference-mark", "change", "script"))
_SPACES = re.compile(r"[ \t\r\n]+")
_PIECES = re.compile(r"( +|\t|\n)")
_LANGUAGE = re.compile(r"(?:language|country|script|rfc-language-tag)(?:-asian|-complex)?|.*rsid")


def odf_paragraph(plain_styles: frozenset[str]) -> Dialect:
    """Return the dialect of OpenDocument.

    Args:
        plain_styles: Styles of spans that readers cannot see (see `plain_styles`).
    """
    return Dialect(partial(_atoms, plain_styles), _put_text, lambda properties: ())


def plain_styles(root: etree._Element) -> frozenset[str]:
    """Return the styles that only record a language or a revision, which cut text into spans for nothing."""
    found = set()
    for style in root.iter(f"{{{STYLE}}}style"):
        is_own = style.get(f"{{{STYLE}}}parent-style-name") or style.get(f"{{{STYLE}}}family") != "text"
        attributes = [name for properties in style for name in properties.attrib]
        if not is_own and all(_LANGUAGE.fullmatch(name.rpartition("}")[2]) for name in attributes):
            found.add(style.get(f"{{{STYLE}}}name"))
    return frozenset(found)


def _atoms(plain: frozenset[str], paragraph: etree._Element) -> Iterator[Atom]:
    """Yield the content of a paragraph, with adjacent spans of one style as one."""
    found: list[Atom] = []
    names: dict[object, object] = {}  # the span that a span continues
    for atom in _Reader(plain).content(paragraph):
        last = found[-1] if found else None
        if isinstance(atom, Open) and isinstance(last, Close) and _continues(atom, last, found, names):
            continue
        if isinstance(atom, Close) and atom.name in names:
            atom = Close(names[atom.name], atom.markers)
        found.append(atom)
    return iter(found)


def _continues(atom: Open, last: Close, found: list[Atom], names: dict[object, object]) -> bool:
    if isinstance(atom.name, _Span) and isinstance(last.name, _Span) and atom.name.style == last.name.style:
        names[atom.name] = last.name
        found.pop()
        return True
    return False


class _Span(tuple[int, str]):
    """Name of a span: its number and style."""

    @property
    def style(self) -> str:
        return self[1]


class _Reader:
    """Reads a paragraph, collapsing white space as programs do."""

    def __init__(self, plain: frozenset[str]):
        self._plain = plain
        self._numbers = count()
        self._after_space = True

    def content(self, element: etree._Element) -> Iterator[Atom]:
        yield from self._text(element, element.text)
        for child in element:
            name = local_name(child)
            if name == "s" and child.tag == _SPACE:
                yield Text(" " * _number(child), None, (None, child))
                self._after_space = False
            elif name in _WRAPPERS:
                yield from self._wrapper(child)
            elif child.tag is etree.Entity:
                yield Alone(((None, child),), child.text)
                self._after_space = False
            elif name and name not in _STALE:
                yield self._kept(child)
                self._after_space = False
            yield from self._text(element, child.tail)

    def _text(self, element: etree._Element, text: str | None) -> Iterator[Text]:
        collapsed = _SPACES.sub(" ", text or "")
        if self._after_space:
            collapsed = collapsed.removeprefix(" ")
        if collapsed:
            self._after_space = collapsed.endswith(" ")
            yield Text(collapsed, None, (None, element))

    def _wrapper(self, element: etree._Element) -> Iterator[Atom]:
        style = element.get(_STYLE_NAME, "")
        is_span = local_name(element) == "span"
        if is_span and style in self._plain:
            yield from self.content(element)
            return
        number = next(self._numbers)
        name: object = _Span((number, style)) if is_span and set(element.attrib) == {_STYLE_NAME} else number
        yield Open(name, element, element)
        yield from self.content(element)
        yield Close(name)

    def _kept(self, element: etree._Element) -> Atom:
        name, kept = local_name(element), ((None, element),)
        marker = _RANGE.fullmatch(name)
        if marker:
            label = next((v for k, v in element.attrib.items() if k.rpartition("}")[2] in _RANGE_NAMES), "")
            key = (marker[1], label)
            return Open(key, markers=Alone(kept)) if marker[2] == "start" else Close(key, Alone(kept))
        if name == "annotation" and (label := element.get(f"{{{OFFICE}}}name")):
            return Open(("annotation", label), markers=Alone(kept))
        if element.tag in (_TAB, _LINE_BREAK):
            return Alone(kept, " ", splits=element.tag == _TAB)
        is_field = element.tag.startswith(f"{{{TEXT}}}") and name not in _SHOWN_NOWHERE
        return Alone(kept, _shown(element) if is_field else "")


def _shown(element: etree._Element) -> str:
    """Return the text of a field, or the base of a text with a reading aid."""
    base = element.find(f"{{{TEXT}}}ruby-base")
    return "".join((element if base is None else base).itertext())


def _number(space: etree._Element) -> int:
    number = space.get(f"{{{TEXT}}}c", "1")
    return min(int(number), 1000) if number.isdecimal() and len(number) < 6 else 1


def _put_text(parent: etree._Element, text: str, properties: etree._Element | None) -> None:
    """Append text; spaces that programs would collapse, tabs and line breaks become elements."""
    for piece in _PIECES.split(text):
        if piece in ("\t", "\n"):
            etree.SubElement(parent, _TAB if piece == "\t" else _LINE_BREAK)
        elif piece.startswith(" "):
            more = len(piece)
            if _ends_with_word(parent):
                append_text(parent, " ")
                more -= 1
            if more:
                space = etree.SubElement(parent, _SPACE)
                if more > 1:
                    space.set(f"{{{TEXT}}}c", str(more))
        elif piece:
            append_text(parent, piece)


def _ends_with_word(element: etree._Element) -> bool:
    """Return whether the text before the end of an element certainly ends with something else than a space."""
    if len(element) and not element[-1].tail and local_name(element[-1]) in _WRAPPERS:
        return _ends_with_word(element[-1])
    text = (element[-1].tail or element[-1].text) if len(element) else element.text
    return bool(text) and not text.endswith(" ")
