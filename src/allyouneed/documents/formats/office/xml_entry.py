"""XML of office documents and e-books: parsed with bounds, changed in place, and written as it was otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lxml import etree

from allyouneed.documents.segments import Parts, Segment
from allyouneed.errors import UserError

_MAX_MARKS = 10_000_000  # elements and attributes, to bound the memory of a tree
_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml.*?\?>\s*", re.DOTALL)
_DOCTYPE = re.compile(rb"<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>\s*", re.DOTALL)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Unit(NamedTuple):
    """A translatable unit of an XML tree.

    Attributes:
        source: Text and codes.
        where: Position, for messages.
        put: Replaces the unit in the tree by its translation. What it returns, if anything, is called once after all
            units of the tree, also if several units return it.
    """

    source: Parts
    where: str
    put: Callable[[Parts], Callable[[], None] | None]


class XmlEntry:
    """An XML entry of a container, as a document of its own.

    Args:
        data: The XML.
        name: Name for messages: file and entry.
        units: Finds the units of a tree, in document order, always the same for the same tree.
        finish: Applied to a tree with changes; returns whether it changed something itself.
        keeps_entities: Whether the XML may declare entities; they are kept.
    """

    def __init__(
        self,
        data: bytes,
        name: str,
        units: Callable[[etree._Element], list[Unit]],
        finish: Callable[[etree._Element], bool] = lambda root: False,
        keeps_entities: bool = False,
    ):
        self.data, self._name, self._units, self._finish = data, name, units, finish
        self._keeps_entities = keeps_entities
        found = units(parse_xml(data, name, keeps_entities).getroot())
        self.segments = [Segment(unit.source, unit.where) for unit in found]

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the XML with translations; unchanged units, and XML without changes, stay as they are."""
        tree = parse_xml(self.data, self._name, self._keeps_entities)
        changes = [
            unit.put(translation)
            for unit, translation in zip(self._units(tree.getroot()), translations, strict=True)
            if translation is not None and translation != unit.source
        ]
        for finish in dict.fromkeys(change for change in changes if change):
            finish()
        changed = self._finish(tree.getroot()) or bool(changes)
        return serialize_xml(tree, self.data) if changed else self.data


def parse_xml(data: bytes, name: str, keeps_entities: bool = False) -> etree._ElementTree:
    """Parse XML without loading a DTD or expanding entities.

    Args:
        data: The XML.
        name: Name for messages.
        keeps_entities: Whether the XML may declare entities, which are nodes of the tree.

    Raises:
        UserError: If the XML is malformed, too large or declares entities that it must not.
    """
    if data.count(b"<") + data.count(b"=") > _MAX_MARKS:
        raise UserError(f"{name}: more than {_MAX_MARKS:,} elements and attributes. Split the document.")
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, strip_cdata=False)
    try:
        tree = etree.fromstring(data, parser).getroottree()
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UserError(
            f"{name}: malformed or excessive XML ({xml_reason(error)}). Save the document again, or split it."
        ) from error
    if keeps_entities or tree.docinfo.internalDTD is None:
        return tree
    if any(True for _ in tree.docinfo.internalDTD.iterentities()):
        raise UserError(f"{name}: the XML declares entities, which no program writes here. Save the document again.")
    return tree


def xml_reason(error: Exception) -> str:
    """Return what is wrong with XML, in one line."""
    return " ".join(str(getattr(error, "msg", error)).split())


def serialize_xml(tree: etree._ElementTree, original: bytes) -> bytes:
    """Return a tree as XML with the declaration, byte-order mark and encoding of the original."""
    encoding = tree.docinfo.encoding or "UTF-8"
    declaration = _DECLARATION.match(original)
    if declaration is None and encoding.upper() not in ("UTF-8", "ASCII", "US-ASCII"):
        return etree.tostring(tree, encoding=encoding, xml_declaration=True, standalone=tree.docinfo.standalone)
    prefix = declaration[0] if declaration else b"\xef\xbb\xbf" * original.startswith(b"\xef\xbb\xbf")
    text = etree.tostring(tree, encoding=encoding, xml_declaration=False)
    doctype = _DOCTYPE.match(original, len(prefix))
    if doctype and _DOCTYPE.match(text) is None:  # lxml leaves it out if the root element has a prefix
        prefix += doctype[0]
    return prefix + text


def xml_text(text: str) -> str:
    """Remove characters that XML does not allow."""
    return _NOT_XML.sub("", text)


def local_name(element: etree._Element) -> str:
    """Return the name of an element without its namespace; "" for comments and processing instructions."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def has_words(parts: Parts) -> bool:
    """Return whether there is text beside codes."""
    return any(isinstance(part, str) and not part.isspace() for part in parts)


def append_text(parent: etree._Element, text: str) -> None:
    """Append text to the content of an element."""
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def text_unit(element: etree._Element, where: str) -> Unit:
    """Return the text of an element without children as a unit."""

    def put(translation: Parts) -> None:
        element.text = xml_text("".join(part for part in translation if isinstance(part, str)))

    return Unit((element.text or "",), where, put)


def attribute_unit(element: etree._Element, name: str, where: str) -> Unit:
    """Return the value of an attribute as a unit."""

    def put(translation: Parts) -> None:
        element.set(name, xml_text("".join(part for part in translation if isinstance(part, str))))

    return Unit((element.get(name, ""),), where, put)
