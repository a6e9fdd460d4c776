"""Paragraphs of runs, as office documents store them: from runs of formatted text to text with codes, and back.

A paragraph's text is cut into runs wherever anything differs, even what nobody sees (revision identifiers, the language
of spelling, marks of spelling errors). Here runs of equal visible formatting are one text. The most frequent formatting
of a paragraph, or of a hyperlink in it, needs no code; other formatting is a pair of codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

from lxml import etree

from allyouneed.documents.formats.office.paragraph_atoms import Alone, Atom, Close, Open, Text, matched, merged
from allyouneed.documents.formats.office.xml_entry import Unit, has_words, local_name, xml_text
from allyouneed.documents.segments import Code, CodeKind, Parts

Key = tuple[object, ...]  # visible formatting, comparable
_SEEN_ON_SPACES = frozenset(("u", "strike", "dstrike", "highlight", "shd", "bdr"))


class Dialect(NamedTuple):
    """How a vocabulary writes runs.

    Attributes:
        atoms: Yields the content of a paragraph.
        put_text: Appends text with properties to an element.
        key: Returns the visible formatting that properties specify.
        last: Local names of children that stay at the end of the paragraph.
        finish: Applied to a changed paragraph.
    """

    atoms: Callable[[etree._Element], Iterator[Atom]]
    put_text: Callable[[etree._Element, str, etree._Element | None], None]
    key: Callable[[etree._Element | None], Key]
    last: frozenset[str] = frozenset()
    finish: Callable[[etree._Element], None] = lambda paragraph: None


class _Level(NamedTuple):
    """Where content is added: the pair of codes it is in, the element, and the properties of its text."""

    pair: int
    element: etree._Element
    properties: etree._Element | None


class RunParagraph:
    """A paragraph as text and codes. Tabs divide it into several units, unless they are within formatted text.

    Attributes:
        parts: Text and codes.
    """

    def __init__(self, element: etree._Element, dialect: Dialect):
        self._element, self._dialect = element, dialect
        self._payloads: dict[int, Alone | Open | etree._Element | None] = {}
        self._ends: dict[int, Close] = {}
        atoms = merged(matched(dialect.atoms(element)))
        self._bases = _bases(atoms, dialect.key)
        self.parts: Parts = tuple(_joined(self._emit(atoms)))
        self._pieces = self._split()

    def units(self, where: str, finish: Callable[[], None] | None = None) -> list[Unit]:
        """Return the units of the paragraph that have text.

        Args:
            where: Position, for messages.
            finish: Called after units were replaced, instead of `rebuild`, which it must call.
        """

        def unit(index: int, parts: Parts) -> Unit:
            def put(translation: Parts) -> Callable[[], None]:
                self._pieces[index] = translation
                return finish or self.rebuild

            return Unit(parts, where, put)

        return [unit(index, parts) for index, parts in enumerate(self._pieces) if has_words(parts)]

    def _split(self) -> list[Parts]:
        pieces: list[Parts] = []
        start, depth = 0, 0
        for index, part in enumerate(self.parts):
            if not isinstance(part, Code):
                continue
            payload = self._payloads[part.pair]
            if depth == 0 and isinstance(payload, Alone) and payload.splits:
                pieces += [self.parts[start:index], (part,)]
                start = index + 1
            depth += {CodeKind.OPEN: 1, CodeKind.CLOSE: -1, CodeKind.ALONE: 0}[part.kind]
        return [*pieces, self.parts[start:]]

    def rebuild(self) -> None:
        """Replace the content of the paragraph by the translations that were put.

        Codes that they lack are added at the end, so that no footnote or picture is lost.
        """
        paragraph = self._element
        translation = [part for piece in self._pieces for part in piece]
        last = [child for child in paragraph if local_name(child) in self._dialect.last]
        _clear(paragraph)
        for payload in self._payloads.values():
            if isinstance(payload, Open) and payload.inside is not None:
                _clear(payload.inside)
        levels = [_Level(0, paragraph, self._bases.get(None))]
        present = set(translation)
        missing = [part for part in self.parts if isinstance(part, Code) and part not in present]
        for part in (*translation, *missing):
            if isinstance(part, str):
                self._put_text(part, levels[-1])
            else:
                self._put_code(part, levels)
        paragraph.extend(last)
        self._dialect.finish(paragraph)

    def _put_text(self, text: str, level: _Level) -> None:
        if text := xml_text(text):
            self._dialect.put_text(level.element, text, level.properties)

    def _put_code(self, code: Code, levels: list[_Level]) -> None:
        payload, level = self._payloads[code.pair], levels[-1]
        if code.kind is CodeKind.CLOSE:
            if any(level.pair == code.pair for level in levels):
                while levels.pop().pair != code.pair:
                    pass
            if code.pair in self._ends:
                _put_elements(self._ends[code.pair].markers, levels[-1].element)
        elif isinstance(payload, Alone):
            self._put_text(payload.literal, level)
            _put_elements(payload, level.element)
        elif isinstance(payload, Open):
            _put_elements(payload.markers, level.element)
            if payload.wrapper is None or payload.inside is None:
                levels.append(_Level(code.pair, level.element, level.properties))
            else:
                payload.wrapper.tail = None
                level.element.append(payload.wrapper)
                base = self._bases.get(payload.name, level.properties)
                levels.append(_Level(code.pair, payload.inside, base))
        else:
            levels.append(_Level(code.pair, level.element, payload))

    def _emit(self, atoms: list[Atom]) -> Iterator[str | Code]:
        """Yield text and codes, with a pair of codes around each stretch of other formatting than the base."""
        wrappers: list[object] = [None]
        opened: dict[object, Code] = {}
        group: Code | None = None
        group_key: Key = ()
        waiting: list[str | Code] = []  # within or after the stretch, depending on what follows
        for atom in atoms:
            if isinstance(atom, Alone):
                waiting.append(self._code(_tag(atom), CodeKind.ALONE, atom, atom.text))
                continue
            if isinstance(atom, Text) and not atom.text.strip() and not _is_seen_on_spaces(atom.properties):
                waiting.append(atom.text)
                continue
            if isinstance(atom, Text):
                key = self._dialect.key(atom.properties)
                if group is not None and key != group_key:
                    yield _closing(group)
                    group = None
                yield from waiting
                waiting = []
                if group is None and key != self._dialect.key(self._bases[wrappers[-1]]):
                    group, group_key = self._code("<rPr>", CodeKind.OPEN, atom.properties), key
                    yield group
                yield atom.text
                continue
            if group is not None:
                yield _closing(group)
                group = None
            yield from waiting
            waiting = []
            if isinstance(atom, Open):
                opened[atom.name] = self._code(_tag(atom), CodeKind.OPEN, atom)
                wrappers += [atom.name] if atom.wrapper is not None else []
                yield opened[atom.name]
            else:
                code = opened[atom.name]
                if wrappers[-1] == atom.name:
                    wrappers.pop()
                self._ends[code.pair] = atom
                yield _closing(code)
        if group is not None:
            yield _closing(group)
        yield from waiting

    def _code(self, raw: str, kind: CodeKind, payload: Alone | Open | etree._Element | None, text: str = "") -> Code:
        pair = len(self._payloads) + 1
        self._payloads[pair] = payload
        return Code(raw, kind, pair, text)


def _bases(atoms: list[Atom], key_of: Callable[[etree._Element | None], Key]) -> dict[object, etree._Element | None]:
    """Return the properties of most of the text directly in the paragraph (None) and in each wrapper."""
    wrappers: list[object] = [None]
    sizes: dict[object, Counter[Key]] = {}
    examples: dict[tuple[object, Key], etree._Element | None] = {}
    for atom in atoms:
        if isinstance(atom, Text):
            key = key_of(atom.properties)
            sizes.setdefault(wrappers[-1], Counter())[key] += len(atom.text.strip())
            examples.setdefault((wrappers[-1], key), atom.properties)
        elif isinstance(atom, Open) and atom.wrapper is not None:
            wrappers.append(atom.name)
        elif isinstance(atom, Close) and wrappers[-1] == atom.name:
            wrappers.pop()
    return {name: examples[name, max(counts, key=counts.__getitem__)] for name, counts in sizes.items()}


def _joined(parts: Iterable[str | Code]) -> Iterator[str | Code]:
    """Join adjacent text."""
    text: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        else:
            if text:
                yield "".join(text)
            text = []
            yield part
    if text:
        yield "".join(text)


def _closing(code: Code) -> Code:
    return Code(f"</{code.raw[1:]}", CodeKind.CLOSE, code.pair)


def _tag(atom: Alone | Open) -> str:
    """Return a short form of what a code stands for."""
    if isinstance(atom, Open):
        element = atom.wrapper if atom.wrapper is not None else atom.markers.elements[-1][1]
        return f"<{_prefixed(element)}>"
    return atom.literal or f"<{_prefixed(atom.elements[-1][1])}/>"


def _prefixed(element: etree._Element) -> str:
    return f"{element.prefix}:{local_name(element)}" if element.prefix else local_name(element)


def _is_seen_on_spaces(properties: etree._Element | None) -> bool:
    """Return whether spaces show their formatting, such as underlining."""
    if properties is None:
        return False
    return any(local_name(child) in _SEEN_ON_SPACES for child in properties) or any(
        properties.get(name, "none") not in ("none", "noStrike") for name in ("u", "strike")
    )


def _clear(element: etree._Element) -> None:
    """Remove the content of an element except its properties."""
    element.text = None
    for child in list(element):
        if not local_name(child).endswith("Pr"):
            element.remove(child)


def _put_elements(payload: Alone, container: etree._Element) -> None:
    """Append kept elements, each in a run like that it was in."""
    for run, element in payload.elements:
        element.tail = None
        if run is None:
            container.append(element)
            continue
        shell = etree.SubElement(container, run.tag, run.attrib, run.nsmap)
        properties = next((child for child in run if local_name(child) == "rPr"), None)
        if properties is not None:
            shell.append(deepcopy(properties))
        shell.append(element)
