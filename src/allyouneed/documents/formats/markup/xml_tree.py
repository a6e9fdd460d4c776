"""A tree over the text of an XML file, with the position of everything, for formats that change it in place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from allyouneed.documents.formats.markup.markup_scanner import (
    Piece,
    PieceKind,
    allowed_in_xml,
    attributes,
    scan,
    unescape_xml,
)
from allyouneed.documents.formats.markup.xml import check_well_formed
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.patching import Edit

_DECLARED = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_CDATA = "<![CDATA["


@dataclass(eq=False, slots=True)
class Node:
    """An element.

    Attributes:
        name: Its name, without the prefix of the root element.
        tag: Its start tag.
        inner: Position of its content.
        end: Position after its end tag.
        parent: The element around it.
        children: Elements, text, references and other markup, in order.
    """

    name: str
    tag: Piece
    inner: tuple[int, int]
    end: int
    parent: Node | None = None
    children: list[Node | Piece] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Position of its start tag."""
        return self.tag.start

    def elements(self, *names: str) -> Iterator[Node]:
        """The child elements with one of the names; all without names."""
        return (child for child in self.children if isinstance(child, Node) and (not names or child.name in names))

    def first(self, name: str) -> Node | None:
        """The first child element of a name, or None."""
        return next(self.elements(name), None)

    def walk(self) -> Iterator[Node]:
        """This element and all within it, in document order."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(list(node.elements()))

    def ancestors(self) -> Iterator[Node]:
        """This element and those around it, from the inside."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class XmlTree:
    """An XML file.

    Args:
        data: Its bytes.
        name: Its name, for messages.

    Attributes:
        content: Its text and encoding.
        root: The root element.

    Raises:
        UserError: If it is not well-formed.
    """

    def __init__(self, data: bytes, name: str):
        match = _DECLARED.search(data[:1024])
        self.content: EncodedText = decode(data, name, match[1].decode("ascii") if match else None)
        check_well_formed(self.content.text, name)
        self.text = self.content.text
        self._position, self._line = 0, 1
        self.root = self._build()

    def _build(self) -> Node:
        top = Node("", Piece(PieceKind.OTHER, 0, 0), (0, len(self.text)), len(self.text))
        current, prefix = top, None
        for piece in scan(self.text, is_xml=True):
            if piece.kind is PieceKind.END:
                current.inner, current.end = (current.inner[0], piece.start), piece.end
                current = current.parent or top
            elif piece.kind in (PieceKind.START, PieceKind.EMPTY):
                if prefix is None:
                    prefix = piece.name.rpartition(":")[0] + ":" if ":" in piece.name else ""
                node = Node(piece.name.removeprefix(prefix), piece, (piece.end, piece.end), piece.end, current)
                current.children.append(node)
                current = node if piece.kind is PieceKind.START else current
            else:
                current.children.append(piece)
        root = next(top.elements())
        root.parent = None
        return root

    def line(self, node: Node) -> int:
        """The line of an element; fast for elements in document order."""
        if node.start < self._position:
            self._position, self._line = 0, 1
        self._line += self.text.count("\n", self._position, node.start)
        self._position = node.start
        return self._line

    def raw(self, node: Node) -> str:
        """An element as the file has it."""
        return self.text[node.start : node.end]

    def get(self, node: Node, name: str) -> str:
        """The value of an attribute, by its name in lower case; "" if there is none."""
        span = attributes(self.text, node.tag).get(name)
        return unescape_xml(self.text[slice(*span)]) if span else ""

    def inherited(self, node: Node, name: str) -> str:
        """The value of an attribute of an element or the nearest element around it that has it."""
        return next((value for each in node.ancestors() if (value := self.get(each, name))), "")

    def with_attribute(self, node: Node, name: str, value: str | None) -> list[Edit]:
        """The edits that set an attribute, or remove it."""
        span = attributes(self.text, node.tag).get(name.lower())
        if span is None:
            end = node.tag.end - (2 if node.tag.kind is PieceKind.EMPTY else 1)
            while self.text[end - 1].isspace():
                end -= 1
            return [] if value is None else [Edit(end, end, f" {name}={self.quoted(value)}")]
        if value is not None:
            return [Edit(*span, self.quoted(value)[1:-1])]
        start = len(self.text[node.start : span[0] - 1].rstrip(" \t\r\n=")) + node.start - len(name)
        while self.text[start - 1].isspace():
            start -= 1
        return [Edit(start, span[1] + 1, "")]

    def quoted(self, value: str) -> str:
        """An attribute value with its quotation marks."""
        return '"' + self.escaped(value).replace('"', "&quot;") + '"'

    def escaped(self, text: str) -> str:
        """Text as the file has it: escaped, and with references to characters that its encoding lacks."""
        return self.content.referring(escape(allowed_in_xml(text)))

    def indentation(self, node: Node) -> str:
        """The white space before an element."""
        start = node.start
        while start and self.text[start - 1].isspace():
            start -= 1
        return self.text[start : node.start]

    def shown(self, node: Node) -> str:
        """The text within an element, without markup."""
        return "".join(
            self.text_of(piece) for each in node.walk() for piece in each.children if isinstance(piece, Piece)
        )

    def text_of(self, piece: Piece) -> str:
        """The text of a piece; that of a CDATA section is its content."""
        if piece.kind is PieceKind.OTHER and self.text.startswith(_CDATA, piece.start):
            return self.text[piece.start + len(_CDATA) : piece.end - len("]]>")]
        return piece.text

    def is_text(self, piece: Piece) -> bool:
        """Whether a piece is text, of a CDATA section or not."""
        return piece.kind is PieceKind.TEXT or self.text.startswith(_CDATA, piece.start)
