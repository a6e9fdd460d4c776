"""Strings files of macOS and iOS: values are segments; keys, comments and the encoding stay as they are."""

from __future__ import annotations

import re

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.text.encoded_text import decode
from allyouneed.documents.formats.text.patching import PatchedDocument, Slot
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

_STRING = r"\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"|'[^'\\]*+(?:\\.[^'\\]*+)*+'|[\w.$/:-]++"
_SKIPPED = re.compile(r"(?:\s++|//[^\n\r]*+|/\*.*?\*/)*+", re.DOTALL)
_ENTRY = re.compile(rf"(?P<key>{_STRING})(?:(?P<equals>\s*+=\s*+)(?P<value>{_STRING}))?+\s*+;", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[uU]([0-9a-fA-F]{4})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def read(data: bytes, options: ReadOptions) -> PatchedDocument:
    """Read a strings file.

    Raises:
        UserError: If it is compiled, or something in it is not an entry.
    """
    if data.startswith(b"bplist"):
        raise UserError(f"{options.name}: a compiled strings file. Convert it first: plutil -convert xml1.")
    content = decode(data, options.name)
    text, segments, slots = content.text, [], []
    position, counted, line = _skip(text, 0), 0, 1
    while position < len(text):
        line += text.count("\n", counted, position)
        counted = position
        entry = _ENTRY.match(text, position)
        if entry is None:
            raise UserError(
                f'{options.name}, line {line:,}: not an entry of the form "key" = "value"; Correct the file there.'
            )
        name = "value" if entry["value"] else "key"
        raw = entry[name]
        value = _unescaped(raw[1:-1] if raw[0] in "\"'" else raw)
        if value.strip():
            segments.append(Segment((value,), f"line {line:,} ({_unescaped(entry['key'].strip(chr(34)))[:80]})"))
            before = "" if entry["value"] else f"{entry['key']} = "
            slots.append(Slot(*entry.span(name), before))
        position = _skip(text, entry.end())
    return PatchedDocument(content, segments, slots, _quoted)


def _skip(text: str, position: int) -> int:
    """The position after white space and comments."""
    skipped = _SKIPPED.match(text, position)
    return skipped.end() if skipped else position


def _unescaped(raw: str) -> str:
    return _ESCAPE.sub(_character, raw).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return chr(int(escape[2], 8)) if escape[2] else _LETTERS.get(escape[3], escape[3])


def _quoted(parts: Parts, slot: Slot) -> str:
    text = plain_text(parts).replace("\\", "\\\\").replace('"', '\\"')
    for letter, char in _LETTERS.items():
        text = text.replace(char, f"\\{letter}")
    return f'{slot.style}"{text}"'
