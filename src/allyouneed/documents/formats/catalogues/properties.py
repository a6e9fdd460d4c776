"""Java properties: values are segments; keys, comments, separators and continuation lines stay as they are.

Files are ISO 8859-1 or UTF-8. In the former, and in files that are ASCII so far, other characters are written as
escapes (`\\u00fc`), which every version of Java reads. In messages with arguments (`{0}`) a doubled apostrophe is one.
"""

from __future__ import annotations

import re

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.patching import PatchedDocument, Slot
from allyouneed.documents.segments import Parts, Segment, plain_text

_LINE = re.compile(r"[^\r\n\\]*+(?:\\(?:\r\n|.|\Z)[^\r\n\\]*+)*+", re.DOTALL)  # a logical line
_KEY = re.compile(
    r"[ \t\f]*+(?P<key>(?:[^\\:=\s]|\\(?:\r\n|.))*+)(?:(?:\\\r?\n)?[ \t\f])*+(?:[:=](?:[ \t\f]|\\\r?\n)*+)?+", re.DOTALL
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(?:\r\n|[\r\n])[ \t\f]*|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_ARGUMENT = re.compile(r"\{\d+[,}]")


def read(data: bytes, options: ReadOptions) -> PatchedDocument:
    """Read a file of properties.

    Raises:
        UserError: If it cannot be decoded.
    """
    content = _decoded(data, options.name)
    text, position, line = content.text, 0, 1
    segments, slots = [], []
    while position < len(text):
        logical = _LINE.match(text, position)
        end = logical.end() if logical else len(text)
        if text[position:end].lstrip(" \t\f")[:1] in ("#", "!"):  # a comment does not continue
            end = min((at for at in (text.find("\n", position), text.find("\r", position)) if at >= 0), default=end)
        elif (key := _KEY.match(text, position, end)) and key["key"]:
            value = _unescaped(text[key.end() : end])
            if value.strip():
                segments.append(Segment((value,), f"line {line:,} ({_unescaped(key['key'])})"))
                slots.append(Slot(key.end(), end, "'" if _doubles(value) else ""))
                if slots[-1].style:
                    segments[-1] = Segment((value.replace("''", "'"),), segments[-1].where)
        next_position = end + (2 if text.startswith("\r\n", end) else 1)
        line += text.count("\n", position, next_position)
        position = next_position
    is_ascii = content.encoding in ("iso8859-1", "latin-1") or text.isascii()
    return PatchedDocument(content, segments, slots, lambda parts, slot: _escaped(parts, slot, is_ascii))


def _decoded(data: bytes, name: str) -> EncodedText:
    """UTF-8 where the bytes are valid, else ISO 8859-1, in which all bytes are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return decode(data, name, "latin-1")
    return decode(data, name)


def _unescaped(raw: str) -> str:
    text = _ESCAPE.sub(_character, raw)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins escaped surrogates


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _LETTERS.get(escape[2], escape[2]) if escape[2] else ""


def _doubles(value: str) -> bool:
    """Whether the apostrophes of a message are doubled, as `java.text.MessageFormat` demands."""
    return bool(_ARGUMENT.search(value)) and "'" not in value.replace("''", "")


def _escaped(parts: Parts, slot: Slot, is_ascii: bool) -> str:
    text = plain_text(parts)
    if slot.style:
        text = text.replace("'", "''")
    text = text.replace("\\", "\\\\")
    for letter, char in _LETTERS.items():
        text = text.replace(char, f"\\{letter}")
    if text.startswith(" "):
        text = "\\" + text
    if not is_ascii:
        return text
    units = "".join(text).encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 127 else f"\\u{code:04x}" for code in codes)
