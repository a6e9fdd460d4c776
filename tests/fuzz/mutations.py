"""Damage to files: changes of bytes, of text, of the entries of ZIP archives, of encodings and line ends."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence

LARGEST = 120_000  # characters or bytes of a damaged file
_BIG_SHARE = 0.04  # of the cases have a piece repeated many times
_BINARY = (b"%PDF", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
PIECES = (
    *('"', "'", "\\", "<", ">", "&", "\n", "\r", "\r\n", "\t", "\0", "\x1a", "\x85", "\u2028", "\ufeff", "\xa0"),
    *("{", "}", "[", "]", "(", ")", "%", "$", "`", "#", "@", ":", ";", ",", "=", "|", "*", "_", "-->", "<!--", "]]>"),
    *("<![CDATA[", "<?x", "?>", "<b>", "</b>", "<b", "<br/>", "<a href='", "&amp;", "&#x27;", "&#0;", "&x;", "&lt"),
    *("<!DOCTYPE a [<!ENTITY b 'c'>]>", "#~", "#, fuzzy\n", 'msgid ""\n', "msgstr", "{{", "}}", "{%", "%}", "${x}"),
    *("{n, plural, other {#}}", "%1$s", "%(a)s", "%%", "$t(", "https://a.bc/d", "a@b.cd", "/usr/x", "--x", "snake_x"),
    *("00:00:01,000 --> 00:00:02,000\n", "WEBVTT\n", "# ", "> ", "- ", "1. ", "```\n", "|--|\n", "[a](b)", "![", "~~"),
    *("0", "-1", "99999999999999999999", "1e999", "NaN", "null", "true", "\ud800", "\U0001f600", "e\u0301", "漢字"),
    *("가", "\u200b", "\u202e", "\u0600", "İ", "ﬁ", " ", "   ", "\\n", "\\u12", "\\", '""'),
    *("''", "xml:lang='", "<g id='1'>"),
)  # fmt: skip
_PAIRS = (
    *(("<b>", "</b>"), ("<div>", "</div>"), ("{", "}"), ("[", "]"), ("(", ")"), ('{"a":', "}"), ("<g id='1'>", "</g>")),
    *(("<text:span>", "</text:span>"), ("> ", ""), ("*", "*"), ("{n, plural, other {", "}}"), ("<!--", "-->")),
    *(("[", "](a)"), ("<a ", ">"), ('"', '"'), ("`", "`"), ("<w:p>", "</w:p>"), ("  - ", "\n"), ("{{", "}}")),
)
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp932", "gb18030", "utf-7")
_ELEMENT = re.compile(r"<([\w:.-]+)(?:\s[^<>]*)?>([^<>]*)</\1>")
_PLACES = re.compile(r"[>\"'](?=[^<>]*<)")  # before text, and within values of attributes
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
_PACKINGS = {
    b"\x1f\x8b": (gzip.decompress, gzip.compress),
    b"BZh": (bz2.decompress, bz2.compress),
    b"\xfd7zXZ": (lzma.decompress, lzma.compress),
}
_LINE_END = re.compile(r"\r\n|\r|\n")


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return a damaged copy of a file.

    Args:
        data: The file.
        others: Files of the same format, of which pieces are inserted.
        chance: Determines the damage.
    """
    if data.startswith(b"PK") and chance.random() < 0.8:
        return _mutated_archive(data, others, chance)
    if (packing := _packing(data)) and chance.random() < 0.7:
        unpack, pack = packing
        with contextlib.suppress(*_DAMAGE):
            return pack(mutated(unpack(data), [], chance))
    if data.startswith(_BINARY) or chance.random() < 0.1:
        return _mutated_bytes(data, others, chance)
    return _mutated_text(data, others, chance)


def _packing(data: bytes) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]] | None:
    """Return the functions that decompress and compress a file; None if it is not compressed."""
    return next((functions for magic, functions in _PACKINGS.items() if data.startswith(magic)), None)


def _mutated_text(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    text = _decoded(data)
    changes = _MARKUP_CHANGES if "</" in text and chance.random() < 0.6 else _TEXT_CHANGES
    for _ in range(_count(chance)):
        text = chance.choice(changes)(text, others, chance)[:LARGEST]
    if chance.random() < _BIG_SHARE:
        text = _with_repetition(text, chance)
    encoding = "utf-8" if chance.random() < 0.85 else chance.choice(_ENCODINGS)
    return text.encode(encoding, "ignore" if encoding != "utf-8" or chance.random() < 0.9 else "surrogatepass")


def _mutated_bytes(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    for _ in range(_count(chance)):
        start, end = _span(len(data), chance)
        number = struct.pack("<I", chance.choice((0, 1, 255, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32))))
        other = chance.choice(others) if others else data
        first, last = _span(len(other), chance)
        new = chance.choice((b"", data[start:end] * 2, chance.randbytes(end - start), number, other[first:last]))
        data = data[:start] + new + data[end:]
        if chance.random() < 0.05:
            data = data[: chance.randrange(len(data) + 1)]
    return data[:LARGEST]


def _mutated_archive(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Damage entries of a ZIP archive: their content, names, order and compression."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry, archive.read(entry)) for entry in archive.infolist() if entry.file_size < 1 << 20]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
        return _mutated_bytes(data, others, chance)
    contents = [content for _, content in entries]
    for _ in range(chance.randint(1, 2)):
        index = chance.randrange(len(entries)) if entries else 0
        kind = chance.random()
        if not entries or kind < 0.04:
            entries.append((zipfile.ZipInfo(chance.choice(("a.xml", "../a", "/a", "C:\\a", "", "a/" * 50))), b"<a/>"))
        elif kind < 0.08:
            entries.pop(index)
        elif kind < 0.12:
            chance.shuffle(entries)
        elif kind < 0.16:
            entries.append(chance.choice(entries))
        else:
            entry, content = entries[index]
            entries[index] = entry, mutated(content, contents, chance)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of entries with the same name
        for entry, content in entries:
            copy = zipfile.ZipInfo(entry.filename or "a", entry.date_time)
            copy.compress_type = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED))
            archive.writestr(copy, content)
    return _mutated_bytes(file.getvalue(), others, chance) if chance.random() < 0.05 else file.getvalue()


def _count(chance: random.Random) -> int:
    return min(8, 1 + int(chance.expovariate(0.7)))


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "ignore")
    return data.decode("utf-8", "replace")


def _span(length: int, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(length + 1)
    return start, min(length, start + int(chance.expovariate(0.1)))


def _without(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    start, end = _span(len(text), chance)
    return text[:start] + text[end:]


def _doubled(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    start, end = _span(len(text), chance)
    return text[:end] + text[start:]


def _moved(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    start, end = _span(len(text), chance)
    piece, rest = text[start:end], text[:start] + text[end:]
    at = chance.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


def _with_piece(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    start, end = _span(len(text), chance)
    return text[:start] + chance.choice(PIECES) + text[chance.choice((start, end)) :]


def _with_character(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    code = chance.choice((chance.randrange(0x20), chance.randrange(0x300), chance.randrange(0x110000)))
    return text[:at] + chr(code) + text[at + chance.randint(0, 1) :]


def _crossed(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    other = _decoded(chance.choice(others)) if others else text
    first, last = _span(len(other), chance)
    start, end = _span(len(text), chance)
    if chance.random() < 0.3:
        return text[:start] + other[first:]
    return text[:start] + other[first:last] + text[end:]


def _with_line(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    """Remove, double or exchange lines, which keeps a file more valid than other changes."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    change = chance.randrange(3)
    return "".join(lines if change == 0 else lines[:one] + lines[one + 1 :] if change == 1 else [*lines, lines[one]])


def _with_line_ends(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    ends = chance.choice((("\r",), ("\r\n",), ("\n",), ("\r", "\n", "\r\n"), ("\n\r",), ("\x85",), ("\u2028",)))
    return _LINE_END.sub(lambda match: chance.choice(ends), text)


def _cut(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)] if chance.random() < 0.3 else text


def _in_other_case(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    start, end = _span(len(text), chance)
    return text[:start] + text[start:end].swapcase() + text[end:]


def _with_element(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    """Remove, double or move an element without others in it, which keeps markup well-formed."""
    elements = list(_ELEMENT.finditer(text))
    if not elements:
        return text
    one, other = chance.choice(elements), chance.choice(elements)
    at = chance.choice((other.start(), other.end(), other.start(2), other.end(2)))
    change = chance.randrange(3)
    if change == 0:
        return text[: one.start()] + text[one.end() :]
    moved = text[: one.start()] + text[one.end() :] if change == 1 else text
    return moved[:at] + one[0] + moved[at:]


def _with_text(text: str, others: Sequence[bytes], chance: random.Random) -> str:
    """Insert escaped text between or within tags."""
    piece = "".join(chance.choices(PIECES, k=chance.randint(1, 3)))
    escaped = piece.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("'", "&apos;")
    places = [match.start() for match in _PLACES.finditer(text)] or [0]
    at = chance.choice(places) + 1
    return text[:at] + escaped + text[at:]


_TEXT_CHANGES: tuple[Callable[[str, Sequence[bytes], random.Random], str], ...] = (
    *(_without, _doubled, _moved, _with_piece, _with_piece, _with_piece, _with_character, _crossed, _with_line),
    *(_with_line_ends, _cut, _in_other_case),
)
_MARKUP_CHANGES = (_with_element, _with_element, _with_text, _with_text, _with_line_ends)


def _with_repetition(text: str, chance: random.Random) -> str:
    """Repeat a short piece, or nest pairs of brackets and tags, up to the largest size."""
    size = chance.choice((2_000, 20_000, LARGEST))
    at = chance.randrange(len(text) + 1)
    if chance.random() < 0.5:
        start, end = _span(len(text), chance)
        piece = chance.choice((text[start:end], chance.choice(PIECES), "".join(chance.choices(PIECES, k=3)))) or "a"
        repeated = piece * (size // len(piece))
    else:
        opening, closing = chance.choice(_PAIRS)
        count = size // len(opening + closing)
        repeated = opening * count + "a" + closing * chance.choice((count, count - 1, 0))
    return (text[:at] + repeated + text[at:])[: LARGEST + len(text)]
