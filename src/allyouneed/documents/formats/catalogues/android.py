"""Android's string resources: strings, plurals and arrays; `translatable="false"` and references are kept.

Plural forms are completed for the target language. Quotation marks, apostrophes, white space and line breaks are
escaped as Android demands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.inline_codes import Role, read_parts
from allyouneed.documents.formats.catalogues.languages import plural_categories
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.segments import Code, Part, Parts, Segment, plain_text

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))|\"", re.DOTALL)
_SPACE = re.compile(r"\s+")
_REFERENCE = re.compile(r"\s*(?:@(?:\*?[\w.]+:)?[a-z]+/[\w.]+|\?[\w.:/]+)\s*")
_LETTERS = {"n": "\n", "t": "\t"}


@dataclass
class AndroidStrings:
    """A file of string resources.

    Attributes:
        tree: The file.
        segments: The segments.
        nodes: The element of each segment.
        language: Code of the target language.
    """

    tree: XmlTree
    segments: list[Segment]
    nodes: list[Node]
    language: str
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the file with translations in place of its strings."""
        edits: list[Edit] = []
        for index, parts in changed(self.segments, translations).items():
            node = self.nodes[index]
            text = self._written(parts, node)
            edits.append(Edit(*node.inner, text))
            edits += self._further_forms(node, text)
        return self.tree.content.encode(patched(self.tree.text, edits))

    def _written(self, parts: Parts, node: Node) -> str:
        raw = self.tree.text[slice(*node.inner)]
        if raw.lstrip().startswith("<![CDATA["):
            return "<![CDATA[" + _escaped(plain_text(parts)).replace("]]>", "]]]]><![CDATA[>") + "]]>"
        is_quoted = raw.startswith('"') and raw.endswith('"') and len(raw) > 1
        out = [self.tree.escaped(_escaped(part, is_quoted)) if isinstance(part, str) else part.raw for part in parts]
        text = "".join(out)
        if is_quoted:
            return f'"{text}"'
        return "\\" + text if text.startswith(("@", "?")) else text

    def _further_forms(self, node: Node, text: str) -> Iterator[Edit]:
        """The edit that adds the plural forms that the target language has besides those of the source."""
        plural = node.parent
        if plural is None or plural.name != "plurals" or self.language == "und":
            return
        if self.tree.get(node, "quantity") != "other":
            return
        present = {self.tree.get(item, "quantity") for item in plural.elements("item")}
        before, start = self.tree.indentation(node), self.tree.text[node.start : node.inner[0]]
        end = self.tree.text[node.inner[1] : node.end]
        for category in plural_categories(self.language):
            if category not in present:
                tag = re.sub(r"(quantity\s*=\s*[\"'])other", rf"\g<1>{category}", start)
                yield Edit(node.start, node.start, f"{tag}{text}{end}{before}")


def read(data: bytes, options: ReadOptions) -> AndroidStrings:
    """Read string resources.

    Raises:
        UserError: If the file is not well-formed XML.
    """
    tree = XmlTree(data, options.name)
    found = AndroidStrings(tree, [], [], options.target)
    for resource in tree.root.elements("string", "plurals", "string-array"):
        name = tree.get(resource, "name")
        if tree.get(resource, "translatable") == "false":
            continue
        for node in [resource] if resource.name == "string" else list(resource.elements("item")):
            parts = _unescaped(read_parts(tree, node, lambda inline: _role(tree, inline)))
            text = plain_text(parts)
            if node.inner[0] == node.end or _REFERENCE.fullmatch(text) or not any(map(str.isalpha, text)):
                continue
            quantity = tree.get(node, "quantity")
            where = f"line {tree.line(node):,} ({name}{', ' * bool(quantity)}{quantity})"
            found.segments.append(Segment(parts, where))
            found.nodes.append(node)
    return found


def _role(tree: XmlTree, node: Node) -> Role:
    """Placeholders of XLIFF are kept with their text; all other elements are styles."""
    if node.name.endswith(":g"):
        return Role(text=tree.shown(node))
    return Role(encloses=True)


def _unescaped(parts: Parts) -> Parts:
    """Text as Android shows it: white space outside quotation marks is one space, and escapes are characters."""
    out: list[Part] = []
    is_quoted = False
    for number, part in enumerate(parts):
        if isinstance(part, Code):
            out.append(part)
            continue
        text, position = "", 0
        for escape in [*_ESCAPE.finditer(part), None]:
            piece = part[position : escape.start() if escape else len(part)]
            text += piece if is_quoted else _SPACE.sub(" ", piece)
            if escape is None:
                break
            position = escape.end()
            if escape[0] == '"':
                is_quoted = not is_quoted
            else:
                text += chr(int(escape[1], 16)) if escape[1] else _LETTERS.get(escape[2], escape[2])
        text = text.lstrip(" ") if number == 0 and part[:1].isspace() else text
        text = text.rstrip(" ") if number == len(parts) - 1 and part[-1:].isspace() else text
        if text:
            out.append(text)
    return tuple(out)


def _escaped(text: str, is_quoted: bool = False) -> str:
    """Escape text; outside quotation marks, white space that would be lost is escaped as well."""
    text = text.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return text if is_quoted else re.sub("(?<= ) ", r"\\u0020", text)
