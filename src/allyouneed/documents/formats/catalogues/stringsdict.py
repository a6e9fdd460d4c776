"""Plural strings of macOS and iOS (.stringsdict): formats and plural forms, which are completed for the language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.inline_codes import Role, read_parts, write_parts
from allyouneed.documents.formats.catalogues.languages import plural_categories
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

_FORMAT, _TYPE = "NSStringLocalizedFormatKey", "NSStringFormatSpecTypeKey"
_CATEGORIES = ("zero", "one", "two", "few", "many", "other")
_VARIABLE = re.compile(r"%(?:\d+\$)?#@[^@]*@")


@dataclass
class StringsDict:
    """A file of plural strings.

    Attributes:
        tree: The file.
        segments: The segments.
        entries: The key and the string of each segment.
        language: Code of the target language.
    """

    tree: XmlTree
    segments: list[Segment]
    entries: list[tuple[Node, Node]]
    language: str
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the file with translations in place of its strings."""
        edits: list[Edit] = []
        for index, parts in changed(self.segments, translations).items():
            key, string = self.entries[index]
            text = write_parts(self.tree, parts)
            edits.append(Edit(*string.inner, text))
            edits += self._further_forms(key, string, text)
        return self.tree.content.encode(patched(self.tree.text, edits))

    def _further_forms(self, key: Node, string: Node, text: str) -> Iterator[Edit]:
        """The edits that add the plural forms that the target language has besides those of the source."""
        tree, parent = self.tree, key.parent
        if parent is None or tree.shown(key) != "other" or self.language == "und":
            return
        present = {tree.shown(each) for each in parent.elements("key")}
        for category in plural_categories(self.language):
            if category not in present:
                before, between = tree.indentation(key), tree.indentation(string)
                added = f"<key>{category}</key>{between}<string>{text}</string>{before}"
                yield Edit(key.start, key.start, added)


def read(data: bytes, options: ReadOptions) -> StringsDict:
    """Read plural strings.

    Raises:
        UserError: If the file is not a property list in XML.
    """
    if data.startswith(b"bplist"):
        raise UserError(f"{options.name}: a compiled strings file. Convert it first: plutil -convert xml1.")
    tree = XmlTree(data, options.name)
    found = StringsDict(tree, [], [], options.target)
    for dictionary in tree.root.walk():
        if dictionary.name != "dict":
            continue
        elements = list(dictionary.elements())
        pairs = list(zip(elements[::2], elements[1::2], strict=False))
        has_type = any(tree.shown(key) == _TYPE for key, _ in pairs)
        is_plain = dictionary.parent is not None and dictionary.parent.name == "plist"
        for key, string in pairs:
            name = tree.shown(key)
            wanted = name == _FORMAT or (has_type and name in _CATEGORIES) or is_plain
            if not wanted or string.name != "string" or string.inner[0] == string.end:
                continue
            parts = read_parts(tree, string, lambda node: Role())
            if any(map(str.isalpha, _VARIABLE.sub("", plain_text(parts)))):
                found.segments.append(Segment(parts, f"line {tree.line(string):,} ({name})"))
                found.entries.append((key, string))
    return found
