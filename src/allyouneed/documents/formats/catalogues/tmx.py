"""TMX: units without the target language get a variant with the translation of their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.inline_codes import Role, read_parts, write_parts
from allyouneed.documents.formats.catalogues.languages import is_language
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.segments import CodeKind, Parts, Segment, plain_text
from allyouneed.errors import UserError


@dataclass
class Tmx:
    """A translation memory.

    Attributes:
        tree: The file.
        segments: One per unit with the source language.
        variants: The variants (`tuv`) of each unit in the source and target language; the second may be None.
        language: Code of the target language.
    """

    tree: XmlTree
    segments: list[Segment]
    variants: list[tuple[Node, Node | None]]
    language: str
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the memory with translations as variants."""
        edits = []
        for index, parts in changed(self.segments, translations).items():
            source, target = self.variants[index]
            text = write_parts(self.tree, parts)
            segment = target.first("seg") if target else None
            if segment is not None and segment.inner[0] < segment.end:
                edits.append(Edit(*segment.inner, text))
            elif segment is not None:
                edits.append(Edit(segment.start, segment.end, f"<seg>{text}</seg>"))
            else:
                edits.append(self._variant(source, text))
        return self.tree.content.encode(patched(self.tree.text, edits))

    def _variant(self, source: Node, text: str) -> Edit:
        """The edit that adds a variant after the last one of a unit, laid out like that of the source."""
        unit, segment = source.parent, source.first("seg")
        last = list(unit.elements("tuv"))[-1] if unit else source
        before = self.tree.indentation(source)
        inside = self.tree.indentation(segment) if segment else ""
        end = before if inside else ""
        attribute = "lang" if self.tree.get(source, "lang") and not self.tree.get(source, "xml:lang") else "xml:lang"
        language = self.tree.quoted(self.language)
        new = f"{before}<tuv {attribute}={language}>{inside}<seg>{text}</seg>{end}</tuv>"
        return Edit(last.end, last.end, new)


def read(data: bytes, options: ReadOptions) -> Tmx:
    """Read a translation memory.

    Raises:
        UserError: If it is not well-formed or not TMX.
    """
    tree = XmlTree(data, options.name)
    body = tree.root.first("body")
    if tree.root.name != "tmx" or body is None:
        raise UserError(f"{options.name}: not TMX: it has no <tmx> with a <body>. Give it the right suffix.")
    header = tree.root.first("header")
    declared = tree.get(header, "srclang") if header else ""
    segments, variants, without = [], [], 0
    for unit in body.elements("tu"):
        source, target = _variants(tree, unit, options, tree.get(unit, "srclang") or declared)
        content = source.first("seg") if source else None
        if source is None or content is None:
            without += 1
            continue
        parts = read_parts(tree, content, lambda node: _role(tree, node))
        existing = target.first("seg") if target else None
        translation = read_parts(tree, existing, lambda node: _role(tree, node)) if existing else ()
        name = tree.get(unit, "tuid")
        where = f"line {tree.line(unit):,}" + (f" (unit {name})" if name else "")
        if plain_text(parts).strip():
            segments.append(Segment(parts, where, translation or None, bool(translation)))
            variants.append((source, target))
    notes = (f"{without:,} units have no text in the source language.",) if without else ()
    return Tmx(tree, segments, variants, options.target, notes)


def _variants(tree: XmlTree, unit: Node, options: ReadOptions, declared: str) -> tuple[Node | None, Node | None]:
    """The variants of a unit in the source and in the target language."""
    languages = {_language(tree, variant): variant for variant in reversed(list(unit.elements("tuv")))}

    def of(language: str) -> Node | None:
        exact = languages.get(language.lower())
        return exact or next((node for code, node in languages.items() if is_language(code, language)), None)

    return of(declared if options.source == "und" else options.source), of(options.target)


def _language(tree: XmlTree, variant: Node) -> str:
    return (tree.get(variant, "xml:lang") or tree.get(variant, "lang")).lower()


def _role(tree: XmlTree, node: Node) -> Role:
    if node.name == "hi":
        return Role(encloses=True)
    if node.name in ("bpt", "ept"):
        kind = CodeKind.OPEN if node.name == "bpt" else CodeKind.CLOSE
        return Role(kind=kind, key=tree.get(node, "i"))
    shown = tree.shown(node).strip()
    return Role(text="" if "<" in shown or tree.get(node, "type") in ("fmt", "bold", "italic") else shown)
