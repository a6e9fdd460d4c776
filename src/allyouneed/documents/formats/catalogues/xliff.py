"""XLIFF 1.2 and 2: sources are segments; translations are entered as targets with their state.

Inline elements are codes. Units with `translate="no"` are kept. A unit is finished if its target is approved or has a
state other than new or needing translation, or if it has a target that differs from its source and no state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.inline_codes import read_parts, write_parts
from allyouneed.documents.formats.catalogues.languages import check_language, is_language
from allyouneed.documents.formats.catalogues.xliff_codes import role_of
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

_UNFINISHED = ("initial", "new", "needs-adaptation", "needs-l10n", "needs-translation")
_ENTERED: dict[str, dict[str, str | None]] = {
    "1": {"state": "needs-review-translation", "state-qualifier": "leveraged-mt"},
    "2": {"state": "translated", "subState": None},
}


class Piece(NamedTuple):
    """A part of a unit that is a segment: the source, or in XLIFF 1.2 a marked sentence of it.

    Attributes:
        source: The element with the text.
        target: The element with its translation, or None.
    """

    source: Node
    target: Node | None


@dataclass(eq=False)
class Unit:
    """A unit, in XLIFF 2 a segment of one.

    Attributes:
        node: The element around source and target.
        source: The source, in XLIFF 1.2 the segmented source if its sentences are marked.
        last: The element before the target: the source, or the segmented source.
        target: The target, or None.
        pieces: The parts that are translated.
    """

    node: Node
    source: Node
    last: Node
    target: Node | None
    pieces: list[Piece]


@dataclass
class Xliff:
    """An XLIFF file.

    Attributes:
        tree: The file.
        version: "1" or "2".
        segments: The segments.
        places: The unit of each segment, and the index of the piece.
        language: Code of the target language.
    """

    tree: XmlTree
    version: str
    segments: list[Segment]
    places: list[tuple[Unit, int]]
    language: str
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the file with translations entered."""
        units: dict[Unit, dict[int, Parts]] = {}
        for index, parts in changed(self.segments, translations).items():
            unit, piece = self.places[index]
            units.setdefault(unit, {})[piece] = parts
        edits = list(self._languages(units))
        for unit, new in units.items():
            edits += self._entered(unit, {index: write_parts(self.tree, parts) for index, parts in new.items()})
        return self.tree.content.encode(patched(self.tree.text, edits))

    def _languages(self, units: dict[Unit, dict[int, Parts]]) -> Iterator[Edit]:
        """The edits that declare the target language where it is missing."""
        files = {file.start: file for unit in units for file in unit.node.ancestors() if file.name in ("file", "xliff")}
        name, element = ("target-language", "file") if self.version == "1" else ("trgLang", "xliff")
        for file in files.values():
            if file.name == element and not self.tree.get(file, name.lower()) and self.language != "und":
                yield from self.tree.with_attribute(file, name, self.language)

    def _entered(self, unit: Unit, new: dict[int, str]) -> Iterator[Edit]:
        """The edits that enter the translations of a unit."""
        tree, target = self.tree, unit.target
        states = _ENTERED[self.version]
        holder = target if self.version == "1" else unit.node
        if self.version == "1" and tree.get(unit.node, "approved") == "yes":
            yield from tree.with_attribute(unit.node, "approved", "no")
        if holder is not None:
            for name, value in states.items():
                yield from tree.with_attribute(holder, name, value)
        if target is not None and all(unit.pieces[index].target for index in new):
            for index, text in new.items():
                yield from self._content(unit.pieces[index].target, text)
            return
        text = self._whole(unit, new)
        if target is not None:
            yield from self._content(target, text)
            return
        attributes = "".join(f' {name}="{value}"' for name, value in states.items() if self.version == "1")
        name = tree.text[unit.source.start + 1 :].partition(":")[0] + ":" if ":" in unit.source.tag.name else ""
        indentation = tree.indentation(unit.source)
        yield Edit(unit.last.end, unit.last.end, f"{indentation}<{name}target{attributes}>{text}</{name}target>")

    def _content(self, node: Node | None, text: str) -> Iterator[Edit]:
        """The edit that replaces the content of an element, which may be empty."""
        if node is None:
            return
        if node.inner[0] < node.end:
            yield Edit(*node.inner, text)
            return
        slash = self.tree.text.rindex("/", node.start, node.end)
        yield Edit(slash, node.end, f">{text}</{node.tag.name}>")

    def _whole(self, unit: Unit, new: dict[int, str]) -> str:
        """The source of a unit with its pieces translated."""
        start, end = unit.source.inner
        edits = [
            Edit(piece.source.inner[0] - start, piece.source.inner[1] - start, new[index])
            for index, piece in enumerate(unit.pieces)
            if index in new
        ]
        return patched(self.tree.text[start:end], edits)


def read(data: bytes, options: ReadOptions) -> Xliff:
    """Read an XLIFF file.

    Raises:
        UserError: If it is not well-formed, not XLIFF, or of another language than the target.
    """
    tree = XmlTree(data, options.name)
    if tree.root.name != "xliff":
        raise UserError(f"{options.name}: the root element is {tree.root.name}, not xliff. Give it the right suffix.")
    version = "2" if tree.get(tree.root, "version").startswith("2") else "1"
    found = Xliff(tree, version, [], [], options.target)
    _check_languages(found, options)
    names = ("trans-unit",) if version == "1" else ("segment",)
    for node in tree.root.walk():
        if node.name in names and tree.inherited(node, "translate") != "no":
            _add(found, node)
    return found


def _check_languages(found: Xliff, options: ReadOptions) -> None:
    tree, notes = found.tree, []
    named = tree.root.elements("file") if found.version == "1" else [tree.root]
    source, target = ("source-language", "target-language") if found.version == "1" else ("srclang", "trglang")
    for node in named:
        declared = tree.get(node, source)
        check_language(tree.get(node, target), options.target, options.name)
        if declared and options.source != "und" and not is_language(declared, options.source):
            notes.append(f"The source language of the file is {declared}, and the model translates {options.source}.")
    found.notes = tuple(dict.fromkeys(notes))


def _add(found: Xliff, node: Node) -> None:
    """Add the segments of a unit."""
    tree = found.tree
    source, target = node.first("source"), node.first("target")
    if source is None:
        return
    last = node.first("seg-source") or source
    marked = (each for each in last.walk() if tree.get(each, "mtype") == "seg")
    sentences = [each for each in _outermost(marked) if each.inner[0] < each.end]
    if last is not source and sentences:
        source = last
        inside = _outermost(each for each in target.walk() if each.name == "mrk") if target else []
        by_id = {tree.get(each, "mid"): each for each in inside}
        pieces = [Piece(each, by_id.pop(tree.get(each, "mid"), None)) for each in sentences]
    else:
        pieces = [Piece(source, target)]
    unit = Unit(node, source, last, target, pieces)
    where = _where(found, node)
    longest = tree.get(node, "maxwidth") if tree.get(node, "size-unit") == "char" else ""
    for index, piece in enumerate(pieces):
        parts = _parts(tree, piece.source)
        existing = _parts(tree, piece.target) if piece.target else ()
        is_finished = bool(existing) and _is_finished(found, unit, parts == existing)
        if plain_text(parts).strip():
            limit = int(longest) if longest.isdecimal() else None
            found.segments.append(Segment(parts, where, existing or None, is_finished, limit))
            found.places.append((unit, index))


def _outermost(nodes: Iterable[Node]) -> list[Node]:
    """Elements in document order, without those within another one of them."""
    found: list[Node] = []
    for node in nodes:
        if not found or node.start >= found[-1].end:
            found.append(node)
    return found


def _parts(tree: XmlTree, node: Node) -> Parts:
    preserves = tree.inherited(node, "xml:space") == "preserve"
    return read_parts(tree, node, lambda inline: role_of(tree, inline), preserves)


def _is_finished(found: Xliff, unit: Unit, is_copy: bool) -> bool:
    """Whether a unit with a target is finished."""
    if found.version == "1":
        if found.tree.get(unit.node, "approved") == "yes":
            return True
        state = found.tree.get(unit.target, "state") if unit.target else ""
    else:
        state = found.tree.get(unit.node, "state")
    return state not in _UNFINISHED if state else not is_copy


def _where(found: Xliff, node: Node) -> str:
    """The line of a unit and its identifier."""
    tree = found.tree
    unit = next((each for each in node.ancestors() if each.name in ("unit", "trans-unit")), node)
    name = tree.get(unit, "resname") or tree.get(unit, "name") or tree.get(unit, "id")
    name = re.sub(r"\s+", " ", name)[:80]
    return f"line {tree.line(node):,}" + (f" (unit {name})" if name else "")
